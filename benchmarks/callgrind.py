"""Machine instructions, by valgrind: no clock, and C functions count in full.

They agree to the instruction from run to run. They differ with the processor and with the build
of Python and of the C library, so no test compares them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from . import _valgrind, parts
from ._measure import Figure, Plan
from ._valgrind import lap

TITLE = "machine instructions of one operation, as callgrind counts them"
INTRO = (
    "The parts are those of the table of nanoseconds, in a loop, the empty loop taken off. Counted are the instructions of the interpreter; what "
    "the C library adds is not there."
)

PASSES = 100  # passes of a loop


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the instructions of each part of an operation."""
    if not _valgrind.IS_HERE:
        print("  no valgrind here")
        return
    if not parts.are_here():
        return
    taken = _valgrind.stretches("asyncio.run(callgrind.run_parts())")
    names = asyncio.run(parts.blocks())
    passes = {name: next(taken)["instructions"] / PASSES for name in names}
    yield from parts.figures(passes, "count")


async def run_parts() -> None:
    """Let every part run so many times; under valgrind."""
    for block in (await parts.blocks()).values():
        block(PASSES)
        lap(block, PASSES)
