"""How things are measured: short blocks of CPU time, in random order, on one core, in pairs.

Every round runs one block of each contender, so that a machine that slows down or speeds up
does so for all of them. A ratio is the median of the ratios of single rounds. The reference
runs twice in each round: the ratio of its two blocks, which ought to be 1, shows how far
the machine can be trusted (A/A).
"""

from __future__ import annotations

import dataclasses
import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

Block = Callable[[int], object]  # does so many operations
Clock = Callable[[], float]  # seconds
PER_SECOND = {"ns": 1e9, "us": 1e6}

_BLOCK_SECONDS = 0.004
_RESAMPLES = 1000
_CONTROL = "(the reference again)"

_THREAD_CLOCK_IS_FINE = time.get_clock_info("thread_time").resolution < 1e-6  # not on Windows
clock = time.thread_time if _THREAD_CLOCK_IS_FINE else time.perf_counter
process_clock = time.process_time  # where gRPC's own threads take part


@dataclasses.dataclass(frozen=True, slots=True)
class Interval:
    """A median, and the 95 % bootstrap interval around it."""

    median: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: what the table prints and the JSON file keeps.

    ``interval`` holds for ratios, as does ``control``, the A/A ratio of the same rounds.
    ``bound`` is the value that the project promises not to exceed, if it promises one.
    """

    name: str
    value: float
    unit: str
    interval: Interval | None = None
    control: Interval | None = None
    bound: float | None = None

    @property
    def is_certain(self) -> bool:
        """False where even the reference differs from itself: the machine was too restless."""
        return self.control is None or self.control.low <= 1 <= self.control.high


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    rounds: int
    objects: int  # for what is measured per object
    refusals: int


FULL = Plan(rounds=300, objects=2000, refusals=500)
QUICK = Plan(rounds=60, objects=500, refusals=100)


def pin_to_one_core() -> str:
    """Keep this process on one core where the platform can; return what was done, for people."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"pinned to core {core}"


def compare(
    contenders: Mapping[str, Block],
    *,
    subject: str,
    reference: str,
    plan: Plan,
    bound: float | None = None,
    clock: Clock = clock,
    unit: str = "ns",
    operations: int | None = None,
) -> Iterator[Figure]:
    """Measure all contenders against each other, in blocks of so many `operations`.

    Yield the time of one operation for each, then the ratio of `subject` to `reference`.
    """
    blocks = {**contenders, _CONTROL: contenders[reference]}
    count = operations or _operations_in_a_block(contenders[reference], clock)
    seconds = _rounds(blocks, count, plan, clock)
    for name in contenders:
        yield Figure(name, statistics.median(seconds[name]) * PER_SECOND[unit], unit)
    ratio = _ratio(seconds[subject], seconds[reference])
    yield Figure(
        f"{subject} / ({reference})",
        ratio.median,
        "x",
        interval=ratio,
        control=_ratio(seconds[_CONTROL], seconds[reference]),
        bound=bound,
    )


def _rounds(
    blocks: Mapping[str, Block], operations: int, plan: Plan, clock: Clock
) -> dict[str, list[float]]:
    """Return the seconds for one operation, by contender and round."""
    chance = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in blocks}
    order = list(blocks)
    with _no_collector():
        for _ in range(plan.rounds):
            chance.shuffle(order)
            for name in order:
                seconds[name].append(_time(blocks[name], operations, clock) / operations)
    return seconds


def _operations_in_a_block(block: Block, clock: Clock) -> int:
    operations = 1
    while (seconds := _time(block, operations, clock)) < _BLOCK_SECONDS / 4:
        operations *= 2
    return max(1, round(operations * _BLOCK_SECONDS / seconds))


def _time(block: Block, operations: int, clock: Clock) -> float:
    began = clock()
    block(operations)
    return clock() - began


@contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Interval:
    ratios = [top / bottom for top, bottom in zip(numerators, denominators, strict=True)]
    chance = random.Random(0)
    medians = sorted(
        statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLES)
    )
    return Interval(
        statistics.median(ratios), medians[_RESAMPLES // 40], medians[-_RESAMPLES // 40]
    )
