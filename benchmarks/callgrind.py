"""Machine instructions, by valgrind: no clock, and C functions count in full.

Single operations agree to the instruction from run to run, messages of real streams to a few
hundred: there, the median of several stretches counts. Another processor, another build of
Python or of the C library has other numbers, so that no test compares them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from statistics import median

from . import _valgrind, compiled, parts
from ._measure import Block, Figure, Plan
from ._services import GUARDED_ENDS, aio_blocks, sync_blocks
from ._valgrind import EVENTS, EVERYTHING, Counts

TITLE = "machine instructions and cache misses, as callgrind counts them"
INTRO = (
    "Instructions of the interpreter alone: the C library, gRPC and the kernel are left out. The caches are callgrind's, of 32 KiB each. The parts are those of "
    "the table above, in a loop, the empty loop taken off. Of real streams, with client and server in one process and messages of 16 B, "
    "the first columns are the plain ones, and what the others have is *added* to them."
)

LAPS = 3  # of which the median counts
PASSES = 100  # of a loop

_OPEN = {"sync": sync_blocks, "aio": aio_blocks}
_SIZE = 16  # bytes
# What is counted of each api: operations of one stream, the second less the first, or whole
# streams. Messages of an aio stream that nobody answers come in bunches, never in the same.
_CASES = {
    "sync": {
        "a message of a server stream": (("server stream", 60), ("server stream", 180)),
        "a short stream": (("short streams", 6),),
    },
    "aio": {"a round of a ping-pong": (("bidi ping-pong", 30), ("bidi ping-pong", 90))},
}
_PLAIN, _BOTH, _COMPILED, _INSTRUCTIONS = "plain", "both", "compiled", "instructions"
_HEADS = {_COMPILED: "client only, compiled"}


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the instructions of each part of an operation, and of messages and streams."""
    if not _valgrind.IS_HERE:
        print("  no valgrind here")
        return
    yield from _parts()
    for api in _OPEN:
        yield from _streams(api)


# Each run_… is what happens under valgrind, and the function after it reads the counts.


async def run_parts() -> None:
    """Let every part run so many times."""
    for block in (await parts.blocks()).values():
        block(PASSES)
        _lap(block, PASSES)


def _parts() -> Iterator[Figure]:
    taken = _program("asyncio.run(callgrind.run_parts())")
    names = asyncio.run(parts.blocks())
    passes = {name: next(taken)[_INSTRUCTIONS] / PASSES for name in names}
    yield from parts.figures(passes, "count")


def run_streams(api: str) -> None:
    """Let the streams of an api run, plain and guarded, and all of it some times over."""
    core = compiled.build()
    dressed = {} if core is None else {_COMPILED: compiled.layers(core, api)[_COMPILED]}
    with _OPEN[api]() as blocks:
        stretches = [
            (blocks(shape, _SIZE, dressed)[way], operations)
            for lengths in _CASES[api].values()
            for shape, operations in lengths
            for way in _ways(core)
        ]
        for block, operations in stretches:
            block(operations)
        for _ in range(LAPS):
            for block, operations in stretches:
                _lap(block, operations)


def _streams(api: str) -> Iterator[Figure]:
    ways = _ways(compiled.build())
    taken = _program(f"callgrind.run_streams({api!r})")
    laps = [
        {
            unit: [{way: next(taken) for way in ways} for _ in lengths]
            for unit, lengths in _CASES[api].items()
        }
        for _ in range(LAPS)
    ]
    for unit, lengths in _CASES[api].items():
        operations = lengths[-1][1] - sum(length for _, length in lengths[:-1])

        def cost(way: str, event: str, unit: str = unit, operations: int = operations) -> float:
            spent = [
                lap[unit][-1][way][event] - sum(shorter[way][event] for shorter in lap[unit][:-1])
                for lap in laps
            ]
            return median(spent) / operations

        yield from _figures(f"{api}, {unit}", ways, cost)


def _figures(
    name: str, ways: tuple[str, ...], cost: Callable[[str, str], float]
) -> Iterator[Figure]:
    whole = cost(_PLAIN, EVERYTHING)
    for event in EVENTS:
        row, plain = f"{name}: {event}", cost(_PLAIN, event)
        if event == _INSTRUCTIONS:
            yield Figure(row, whole, "count", column="plain, with gRPC")
        yield Figure(row, plain, "count", column=_PLAIN)
        for way in ways[1:]:
            yield Figure(row, cost(way, event) - plain, "more", column=_HEADS.get(way, way))
        if event == _INSTRUCTIONS:
            share = 100 * (cost(_BOTH, event) - plain) / whole
            yield Figure(row, share, "%", column="both, of plain with gRPC")


def _ways(core: object) -> tuple[str, ...]:
    return (*GUARDED_ENDS, _COMPILED) if core is not None else tuple(GUARDED_ENDS)


def _program(statement: str) -> Iterator[Counts]:
    """Return the counts of the stretches that `statement` runs."""
    program = f"import asyncio\nfrom benchmarks import callgrind\n{statement}"
    return iter(_valgrind.stretches(program))


def _lap(block: Block, operations: int) -> None:
    os.getppid()
    block(operations)
    os.getppid()
