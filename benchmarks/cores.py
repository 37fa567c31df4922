"""Both cores beside each other: real streams, both ends guarded, with each in turn.

A process has one core, so that each is measured in processes of its own, which alternate; in each
of them guarded streams run beside plain ones, and plain ones beside themselves.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from grpc_guard._core import which

from ._measure import FULL, QUICK, Figure, Plan, process_clock, race
from ._services import AIMS, SHAPES, aio_blocks, sync_blocks

TITLE = "both ends guarded / plain, with each core"
INTRO = "`c` is the compiled core, `py` the one in Python; CPU time of client and server together, 16 B."

_CORES = {"c": "0", "py": "1"}  # GRPC_GUARD_PURE
_SHAPES = ("server stream", "bidi ping-pong", "short streams", "unary")
_SIZE = 16  # bytes
_PROGRAM = "import sys; from benchmarks import cores; cores.run(sys.argv[1])"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the ratios of each shape of RPC and api, with each core that is here."""
    if which.name() != "c":
        print("  no compiled core here")
        return
    amount = "quick" if plan is QUICK else "full"
    runs: dict[str, list[dict[str, list[float]]]] = {core: [] for core in _CORES}
    for _ in range(max(2, plan.processes // 3)):
        for core, told in runs.items():
            told.append(_run(_CORES[core], amount))
    for row in runs["c"][0]:
        for core, told in runs.items():
            bound = AIMS[row] if core == "c" else None
            ratio = statistics.median(run[row][0] for run in told)
            yield Figure(row, ratio, "x", bound=bound, column=core)
        plain = statistics.median(run[row][1] for told in runs.values() for run in told)
        yield Figure(row, plain, "x", column="A/A")


def _run(pure: str, amount: str) -> dict[str, list[float]]:
    environment = {**os.environ, "GRPC_GUARD_PURE": pure}
    command = [sys.executable, "-c", _PROGRAM, amount]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    told: dict[str, list[float]] = json.loads(ended.stdout)
    return told


def run(amount: str) -> None:
    """Measure with the core of this process; print ratio and A/A of each row."""
    plan, told = (QUICK if amount == "quick" else FULL), {}
    for api, open_blocks in {"sync": sync_blocks, "aio": aio_blocks}.items():
        with open_blocks() as blocks:
            for shape in _SHAPES:
                every = blocks(shape, _SIZE)
                contenders = {ends: every[ends] for ends in ("plain", "both")}
                for block in contenders.values():
                    block(SHAPES[shape])  # connects, and warms the path
                measured = race(
                    contenders,
                    reference="plain",
                    plan=plan,
                    clock=process_clock,
                    operations=SHAPES[shape],
                    seconds=plan.seconds_end_to_end / 3,
                )
                told[f"{api} {shape}"] = [measured.ratio("both").median, measured.control.median]
    print(json.dumps(told))
