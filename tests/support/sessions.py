"""What the tests of the pytest plugin share: sessions within a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parents[1] / "programs"
ALONE = ("-p", "no:randomly", "-p", "no:asyncio")  # plugins that are not what the test is about


def environment() -> dict[str, str]:
    """Return the environment of a session without any setting."""
    mine = ("GRPC_GUARD", "GITHUB_", "PYTEST_", "PYTHON")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return plain | {"PYTHONPATH": str(PROGRAMS)}


def lines_of(result: pytest.RunResult) -> list[str]:
    """Return the lines of the guard's section of the terminal summary."""
    lines = iter(result.outlines)
    for line in lines:
        if line.strip("= ") == "grpc_guard":
            break
    section = []
    for line in lines:
        if line.startswith("=="):
            break
        section.append(line)
    return [line for line in section if line]
