"""How things are measured: short blocks of CPU time, in random order, on one core, in pairs.

Every round runs one block of each contender, so that a machine that slows down or speeds up
does so for all of them. A ratio is the median of the ratios of single rounds. The reference
runs twice in each round: the ratio of its two blocks, which ought to be 1, shows how far
the machine can be trusted (A/A). If its 95 % interval excludes 1, which happens by chance in
one case of twenty, the case is measured once more; if it fails again it has no figure.
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
_FEWEST_ROUNDS = 12
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
    Figures of one name that follow each other are one row of the tables, by ``column``.
    """

    name: str
    value: float
    unit: str
    interval: Interval | None = None
    control: Interval | None = None
    bound: float | None = None
    column: str = ""

    @property
    def is_certain(self) -> bool:
        """False if even the reference differs from itself: the machine was too busy."""
        return self.control is None or self.control.low <= 1 <= self.control.high


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    A comparison ends after so many ``rounds`` or ``seconds``, whichever comes first.
    """

    rounds: int
    objects: int  # for what is measured per object
    refusals: int
    seconds: float
    seconds_end_to_end: float
    live: tuple[int, ...]  # streams
    processes: int


FULL = Plan(
    rounds=400,
    objects=2000,
    refusals=500,
    seconds=5,
    seconds_end_to_end=10,
    live=(1, 10, 100, 1000, 10_000, 100_000),
    processes=15,
)
QUICK = Plan(
    rounds=60,
    objects=500,
    refusals=100,
    seconds=0.4,
    seconds_end_to_end=0.7,
    live=(1, 1000, 100_000),
    processes=4,
)


def pin_to_one_core() -> str:
    """Keep this process on one core where the platform can; return what was done, for people."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned"
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return f"pinned to core {core}"


@dataclasses.dataclass(frozen=True, slots=True)
class Race:
    """The seconds for one operation of each contender, round by round.

    ``control`` is the ratio of the reference to itself (A/A).
    """

    seconds: Mapping[str, Sequence[float]]
    reference: str
    control: Interval

    def time(self, name: str, unit: str) -> float:
        """Return the median time of one operation."""
        return statistics.median(self.seconds[name]) * PER_SECOND[unit]

    def ratio(self, name: str, reference: str | None = None) -> Interval:
        """Return the median of the rounds' ratios of `name` to `reference`."""
        return _ratio(self.seconds[name], self.seconds[reference or self.reference])


def race(
    contenders: Mapping[str, Block],
    *,
    reference: str,
    plan: Plan,
    clock: Clock = clock,
    operations: int | None = None,
    seconds: float | None = None,
) -> Race:
    """Measure all contenders against each other, in blocks of so many `operations`.

    For at most `seconds`, by default the plan's, and twice that if the reference differed from
    itself.
    """
    blocks = {**contenders, _CONTROL: contenders[reference]}
    count = operations or _operations_in_a_block(contenders[reference], clock)
    for _ in range(2):
        times = _rounds(blocks, count, plan.rounds, seconds or plan.seconds, clock)
        control = _ratio(times[_CONTROL], times[reference])
        measured = Race(times, reference, control)
        if control.low <= 1 <= control.high:
            break
    return measured


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
    """Yield the time of one operation for each contender, then `subject` over `reference`."""
    measured = race(contenders, reference=reference, plan=plan, clock=clock, operations=operations)
    for name in contenders:
        yield Figure(name, measured.time(name, unit), unit)
    yield ratio_figure(f"{subject} / ({reference})", "", measured, subject, bound=bound)


def ratio_figure(
    row: str,
    column: str,
    measured: Race,
    subject: str,
    reference: str | None = None,
    bound: float | None = None,
) -> Figure:
    """Return the ratio of `subject` to `reference` as a figure, with its interval and control."""
    ratio = measured.ratio(subject, reference)
    return Figure(
        row,
        ratio.median,
        "x",
        interval=ratio,
        control=measured.control,
        bound=bound,
        column=column,
    )


def control_figure(row: str, measured: Race) -> Figure:
    """Return the A/A ratio as a separate figure."""
    control = measured.control
    return Figure(row, control.median, "x", interval=control, column="A/A")


def _rounds(
    blocks: Mapping[str, Block], operations: int, rounds: int, seconds: float, clock: Clock
) -> dict[str, list[float]]:
    """Return the seconds for one operation, by contender and round."""
    chance = random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in blocks}
    order = list(blocks)
    deadline = time.perf_counter() + seconds
    with _no_collector():
        for done in range(rounds):
            if done >= _FEWEST_ROUNDS and time.perf_counter() > deadline:
                break
            chance.shuffle(order)
            for name in order:
                times[name].append(_time(blocks[name], operations, clock) / operations)
    return times


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
