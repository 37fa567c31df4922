"""What the probe finds: ``python -m benchmarks.probe [--seeds N] [PROGRAM ...]``.

Statistics, in real time: each program of the corpus under the guard alone, then probed in one
run, then in a second that knows of the first, for each of a number of seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
_TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(_TESTS))

import logging  # noqa: E402

from support.probe.corpus import Program  # noqa: E402
from support.probe.probing import learnt, probing  # noqa: E402
from support.probe.racy import RACY  # noqa: E402
from support.probe.scheduling import RealStage  # noqa: E402
from support.probe.synchronised import SYNCHRONISED  # noqa: E402

import grpc_guard  # noqa: E402
from grpc_guard._probe.memory import Memory  # noqa: E402
from grpc_guard._probe.settings import Totals  # noqa: E402


class Row:
    """The results of one program: in how many runs something was found."""

    def __init__(self) -> None:
        self.runs = self.guard = self.once = self.twice = 0
        self.totals = Totals()
        self.seconds = 0.0

    def plus(self, other: Row) -> None:
        self.runs += other.runs
        self.guard += other.guard
        self.once += other.once
        self.twice += other.twice
        self.totals = self.totals.plus(other.totals)
        self.seconds += other.seconds

    def __str__(self) -> str:
        found = " | ".join(
            f"{number}/{self.runs}" for number in (self.guard, self.once, self.twice)
        )
        per_run = 2 * self.runs
        return (
            f"{found} | {self.totals.delays / per_run:.1f} | "
            f"{self.totals.spent / per_run * 1000:.0f} ms"
        )


def _found() -> bool:
    found = bool(grpc_guard.findings())
    grpc_guard.clear_findings()
    return found


def measure(program: Program, seeds: int) -> Row:
    """Run `program` three times with each seed."""
    row = Row()
    for seed in range(seeds):
        row.runs += 1
        with grpc_guard.guarded():
            program(RealStage(seed))
        row.guard += _found()
        memory, found = Memory(), False
        for run in range(2):
            began = time.monotonic()
            with probing(seed, memory=memory):
                program(RealStage(2 * seed + run))
            row.seconds = max(row.seconds, time.monotonic() - began)
            row.totals = row.totals.plus(learnt().totals)
            memory = memory.merged(learnt().pairs)
            found |= _found()
            if run == 0:
                row.once += found
        row.twice += found
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    logging.disable()
    print("| program | guard alone | probed once | probed twice | delays per run | held back |")
    print("|---|---|---|---|---|---|")
    for title, corpus in (("all racy programs", RACY), ("all look-alikes", SYNCHRONISED)):
        total = Row()
        for name, program in corpus.items():
            if not arguments.programs or name in arguments.programs:
                row = measure(program, arguments.seeds)
                total.plus(row)
                print(f"| {name} ({program.side}, {program.api}) | {row} |", flush=True)
        if total.runs:
            print(f"| **{title}** | {total} |", flush=True)


if __name__ == "__main__":
    main()
