"""Running a program under callgrind, and reading the counts of each stretch of it.

A stretch begins and ends with ``os.getppid()``: callgrind dumps its counts at each call, and
starts again from zero.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ._measure import Block

IS_HERE = shutil.which("valgrind") is not None

_LAP = "getppid"
_COMMAND = (
    *("valgrind", "--tool=callgrind", f"--dump-before={_LAP}"),
    *("--cache-sim=yes", "--branch-sim=yes"),
    *("--I1=32768,8,64", "--D1=32768,8,64", "--LL=33554432,16,64"),  # the same on any machine
)
# What callgrind counts, by the name in the table; for a cache, misses of the first level.
EVENTS = {
    "instructions": ("Ir",),
    "instruction cache misses": ("I1mr",),
    "data cache misses": ("D1mr", "D1mw"),
    "mispredicted branches": ("Bcm", "Bim"),
}

EVERYTHING = "everything"  # the instructions of the whole process

Counts = dict[str, int]  # by the names of EVENTS, of the interpreter; and EVERYTHING


def lap(block: Block, operations: int) -> None:
    """Run a stretch that is counted."""
    os.getppid()
    block(operations)
    os.getppid()


def stretches(statement: str) -> Iterator[Counts]:
    """Run `statement`, which names modules of this package, and return what each lap() took.

    Only events of the interpreter count, and not those of the C library and gRPC, whose threads
    wait and wake differently each time.
    """
    program = f"import asyncio\nfrom benchmarks import callgrind, cold\n{statement}"
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "counts"
        subprocess.run(
            [*_COMMAND, f"--callgrind-out-file={out}", sys.executable, "-c", program],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": "0", "GRPC_VERBOSITY": "NONE"},
        )
        dumps = sorted(Path(directory).glob("counts.*"), key=lambda path: int(path.suffix[1:]))
        return iter([_read(dump) for dump in dumps[1::2]])  # the others lie between the laps


def _read(dump: Path) -> Counts:
    """Return the counts of one dump: the lines of costs, but for those of calls."""
    events: list[str] = []
    names: dict[str, str] = {}  # objects are named once, and then go by a number
    sums: Counter[str] = Counter()
    everything = 0
    counts, is_call = False, False
    for line in dump.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("events:"):
            events = line.split()[1:]
        elif line.startswith("totals:"):
            everything = int(line.split()[1])
        elif line.startswith(("ob=", "cob=")):
            number, _, name = line.partition("=")[2].partition(" ")
            names.setdefault(number, name)
            if line.startswith("ob="):
                counts = _is_interpreter(names[number])
        elif line.startswith("calls="):
            is_call = True
        elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            if counts and not is_call:
                _, *costs = line.split()
                for event, cost in zip(events, costs, strict=False):
                    sums[event] += int(cost)
            is_call = False
    counted = {name: sum(sums[event] for event in parts) for name, parts in EVENTS.items()}
    return {**counted, EVERYTHING: everything}


def _is_interpreter(path: str) -> bool:
    file = Path(path).name
    return file.startswith(("libpython", "python", "_compiled"))
