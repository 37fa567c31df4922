"""Machine instructions, by valgrind: no clock, and C functions count in full.

Single operations agree to the instruction from run to run, messages of real streams to a few
hundred: there, the median of several stretches counts. Another processor, another build of
Python or of the C library has other numbers, so that no test compares them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
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
_SHAPES = ("server stream", "short streams")
_CASES = (  # shape, and messages of one stream, the second less the first; or short streams
    ("server stream", 60),
    ("server stream", 180),
    ("short streams", 6),
)
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
    """Let streams of two lengths, and short ones, run plain and guarded."""
    core = compiled.build()
    dressed = {} if core is None else {_COMPILED: compiled.layers(core, api)[_COMPILED]}
    with _OPEN[api]() as blocks:
        made = {shape: blocks(shape, _SIZE, dressed) for shape in _SHAPES}
        stretches = [(made[shape][way], count) for shape, count in _CASES for way in _ways(core)]
        for block, operations in stretches:
            block(operations)
        for _ in range(LAPS):
            for block, operations in stretches:
                _lap(block, operations)


def _streams(api: str) -> Iterator[Figure]:
    ways = _ways(compiled.build())
    taken = _program(f"callgrind.run_streams({api!r})")
    laps = [{case: {way: next(taken) for way in ways} for case in _CASES} for _ in range(LAPS)]
    few, many, short = _CASES

    def message(way: str, event: str) -> float:
        spent = [lap[many][way][event] - lap[few][way][event] for lap in laps]
        return median(spent) / (many[1] - few[1])

    def stream(way: str, event: str) -> float:
        return median(lap[short][way][event] for lap in laps) / short[1]

    for unit, cost in {"a message of a server stream": message, "a short stream": stream}.items():
        whole = cost(_PLAIN, EVERYTHING)
        for event in EVENTS:
            row = f"{api}, {unit}: {event}"
            plain = cost(_PLAIN, event)
            if event == _INSTRUCTIONS:
                yield Figure(row, whole, "count", column="plain, with gRPC")
            yield Figure(row, plain, "count", column="plain")
            for way in ways[1:]:
                more = cost(way, event) - plain
                yield Figure(row, more, "more", column=_HEADS.get(way, way))
            if event == _INSTRUCTIONS:
                share = 100 * (cost(_BOTH, event) - plain) / whole
                yield Figure(row, share, "%", column="both, of plain with gRPC")


def _ways(core: object) -> tuple[str, ...]:
    return (*GUARDED_ENDS, _COMPILED) if core is not None else tuple(GUARDED_ENDS)


def _program(statement: str) -> Iterator[Counts]:
    """Return the counts of the stretches that `statement` runs."""
    program = f"import asyncio\nfrom benchmarks import callgrind\n{statement}"
    return iter(_valgrind.stretches(program)[::2])  # every other one is between two


def _lap(block: Block, operations: int) -> None:
    os.getppid()
    block(operations)
    os.getppid()
