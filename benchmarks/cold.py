"""Messages and streams under callgrind: how many instructions, and how cold they run.

Real streams differ each time, so the median of several stretches counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

from . import _valgrind
from ._measure import Figure, Plan
from ._services import GUARDED_ENDS, aio_blocks, sync_blocks
from ._valgrind import EVENTS, EVERYTHING, lap

TITLE = "instructions and cache misses of real streams, as callgrind counts them"
INTRO = (
    "Of the interpreter alone, except for *with gRPC*, which has everything but the kernel. Client and server share the process, messages have 16 B, and the caches are callgrind's, "
    "of 32 KiB each. What the columns beside *plain* have is *added* to it. In sync the instructions of a message repeat to a few hundred. In aio, where the loop wakes up as it likes, they differ by "
    "up to ten thousand from run to run: there, only that *both* add something can be told, and about how much."
)

LAPS = 3  # their median counts

_OPEN = {"sync": sync_blocks, "aio": aio_blocks}
_SIZE = 16  # bytes
# The counts for each api: operations of one stream, the second less the first, or whole
# streams. Unanswered messages of an aio stream come in bunches, which differ each time.
_CASES = {
    "sync": {
        "a message of a server stream": (("server stream", 60), ("server stream", 180)),
        "a short stream": (("short streams", 6),),
    },
    "aio": {"a round of a ping-pong": (("bidi ping-pong", 30), ("bidi ping-pong", 90))},
}
_PLAIN, _BOTH, _INSTRUCTIONS = "plain", "both", "instructions"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield what a message and a stream take, and what the guard adds to them."""
    if not _valgrind.IS_HERE:
        print("  no valgrind here")
        return
    for api in _OPEN:
        yield from _streams(api)


def run_streams(api: str) -> None:
    """Run the streams of an api, plain and guarded, several times."""
    with _OPEN[api]() as blocks:
        stretches = [
            (blocks(shape, _SIZE)[way], operations)
            for lengths in _CASES[api].values()
            for shape, operations in lengths
            for way in GUARDED_ENDS
        ]
        for block, operations in stretches:
            block(operations)
        for _ in range(LAPS):
            for block, operations in stretches:
                lap(block, operations)


def _streams(api: str) -> Iterator[Figure]:
    taken = _valgrind.stretches(f"cold.run_streams({api!r})")
    laps = [
        {
            unit: [{way: next(taken) for way in GUARDED_ENDS} for _ in lengths]
            for unit, lengths in _CASES[api].items()
        }
        for _ in range(LAPS)
    ]
    for unit, lengths in _CASES[api].items():
        operations = lengths[-1][1] - sum(length for _, length in lengths[:-1])

        def cost(way: str, event: str, unit: str = unit, operations: int = operations) -> float:
            spent = [
                last[way][event] - sum(shorter[way][event] for shorter in others)
                for *others, last in (counted[unit] for counted in laps)
            ]
            return median(spent) / operations

        yield from _figures(f"{api}, {unit}", cost)


def _figures(name: str, cost: Callable[[str, str], float]) -> Iterator[Figure]:
    whole = cost(_PLAIN, EVERYTHING)
    for event in EVENTS:
        row, plain = f"{name}: {event}", cost(_PLAIN, event)
        if event == _INSTRUCTIONS:
            yield Figure(row, whole, "count", column="plain, with gRPC")
        yield Figure(row, plain, "count", column=_PLAIN)
        for way in GUARDED_ENDS:
            if way != _PLAIN:
                yield Figure(row, cost(way, event) - plain, "more", column=way)
        if event == _INSTRUCTIONS:
            share = 100 * (cost(_BOTH, event) - plain) / whole
            yield Figure(row, share, "%", column="both, of plain with gRPC")
