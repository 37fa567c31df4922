"""The sections of the benchmarks that are quick run to their end, and their tables find their pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = ("docs/design/laboratory.md", "docs/performance.md", "README.md")


@pytest.mark.parametrize("section", ["instructions", "memory", "notes", "parts", "refusals"])
def test_a_section(section: str) -> None:
    """A section prints figures: what it imports and calls of the package is still there."""
    core = {"GRPC_GUARD_PURE": "1"} if section == "parts" else {}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", section],
        cwd=TOP,
        env={**os.environ, **core},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert len([line for line in ran.stdout.splitlines() if line.startswith("  ")]) > 3


def test_pages() -> None:
    """Every section has its place on a page, and so has the table that README and docs share."""
    from benchmarks._sections import ON_REQUEST, SECTIONS

    laboratory, costs, readme = ((TOP / page).read_text(encoding="utf-8") for page in PAGES)
    for section in (*SECTIONS, *ON_REQUEST, "machine"):
        assert f"<!-- benchmarks: {section} -->" in laboratory
    assert "<!-- benchmarks: costs -->" in costs
    assert "<!-- benchmarks: costs -->" in readme


def test_summary() -> None:
    """The table that README and docs share takes its figures from the sections."""
    from benchmarks._measure import Figure
    from benchmarks._summary import summary

    shapes = ("server stream", "bidi ping-pong", "short streams", "unary")
    ends = [
        Figure(f"{api} {shape}, 16 B", value, unit, column=column)
        for api in ("sync", "aio")
        for shape in shapes
        for column, value, unit in (("plain", 80.0, "us"), ("both", 1.025, "x"))
    ]
    memory = [
        Figure("sync client, responses", 488, "bytes"),
        Figure("aio client, either direction", 232, "bytes"),
    ]
    refusals = [
        Figure("sync next during next", 40, "us"),
        Figure("aio read during read, 10 tasks", 50, "us"),
    ]
    results = {"end_to_end": ends, "memory": memory, "refusals": refusals}
    table = summary(results)
    assert table is not None
    assert table.count("1.025 (+2.0 us)") == 2 * len(shapes)
    assert "| 488 bytes | 232 bytes |" in table
    assert "| 40 us | 50 us |" in table
    assert summary({**results, "memory": []}) is None
