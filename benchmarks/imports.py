"""What importing grpc_guard adds to importing grpc."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator

from ._measure import Figure, Plan

TITLE = "import time (CPU time of a fresh process, median)"
INTRO = "Every process imports grpc first, and then grpc_guard; bytecode files exist."

_BOUND = 15  # ms over grpc's own

_PROGRAM = """
import json, time
times, clock = [], time.process_time
def lap():
    times.append(clock())
lap()
import grpc, grpc.aio
lap()
import grpc_guard
lap()
grpc_guard.wrap, grpc_guard.enable, grpc_guard.ConcurrencyError
lap()
grpc_guard.enable()
lap()
print(json.dumps([1000 * (end - begin) for begin, end in zip(times, times[1:])]))
"""


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the milliseconds of each step."""
    _import()  # writes the bytecode files
    grpc, guard, names, enable = (
        statistics.median(times)
        for times in zip(*(_import() for _ in range(plan.processes)), strict=True)
    )
    yield Figure("import grpc", grpc, "ms")
    yield Figure("then import grpc_guard", guard, "ms", bound=_BOUND)
    yield Figure("then the first use of wrap and the like, which imports the rest", names, "ms")
    yield Figure("then enable()", enable, "ms")
    yield Figure("all three", guard + names + enable, "ms")


def _import() -> list[float]:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True
    )
    times: list[float] = json.loads(ended.stdout)
    return times
