"""The bytecode instructions of a guarded operation: the same on every machine.

They are not counted here: a test of the suite counts them and compares them with the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ._measure import Figure, Plan

TITLE = "bytecode instructions of grpc_guard in one operation"
INTRO = (
    "A C function counts as the one instruction that calls it. A test holds the numbers to these."
)

_FILE = Path(__file__).parent.parent / "tests" / "support" / "instructions.json"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the numbers for each version of Python."""
    versions: dict[str, dict[str, int]] = json.loads(_FILE.read_text(encoding="utf-8"))
    for operation in next(iter(versions.values())):
        for version, numbers in versions.items():
            yield Figure(operation, numbers[operation], "", column=version)
