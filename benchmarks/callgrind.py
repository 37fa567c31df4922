"""Machine instructions of one operation, by valgrind: no clock, and C functions count in full.

Each operation runs in two processes, the second with more repetitions; the difference is
what they took. Runs of one machine agree to the instruction; another processor, another build
of Python or of the C library has other numbers, so that no test compares them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from ._measure import Figure, Plan

TITLE = "machine instructions of one operation, as callgrind counts them"
INTRO = (
    "The loop and the call are included, as is the plain call, which returns at once. Time is asked of the kernel here, "
    "which costs more instructions than the usual way."
)

_VALGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
_FEW, _MANY = 5_000, 15_000
_SETUP = """
import asyncio, sys
from benchmarks._stubs import AioCall, SyncCall
from grpc_guard import wrap
async def act(operations):
    {make}
    for _ in range(operations):
        {statement}
asyncio.run(act(int(sys.argv[1])))
"""
_OPERATIONS = {
    "sync next": ("SyncCall()", "next(call)"),
    "aio read": ("AioCall()", "await call.read()"),
    "aio write": ("AioCall()", "await call.write(b'')"),
}


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the instructions of each operation, plain and guarded."""
    if shutil.which("valgrind") is None:
        return
    for name, (call, statement) in _OPERATIONS.items():
        for column, make in (("plain", f"call = {call}"), ("guarded", f"call = wrap({call})")):
            program = _SETUP.format(make=make, statement=statement)
            spent = _instructions(program, _MANY) - _instructions(program, _FEW)
            yield Figure(name, spent / (_MANY - _FEW), "instructions", column=column)


def _instructions(program: str, operations: int) -> int:
    ended = subprocess.run(
        [*_VALGRIND, sys.executable, "-c", program, str(operations)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    found = re.search(r"Collected : (\d+)", ended.stderr)
    assert found is not None, ended.stderr
    return int(found[1])
