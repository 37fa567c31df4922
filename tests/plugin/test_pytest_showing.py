"""A failure on the terminal of pytest: fitted to it, in colours by its own writer, plain in files."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from support.sessions import ALONE

pytest_plugins = ["pytester"]

TESTS = """
import asyncio

from collision import collide


def test_swallowed():
    asyncio.run(collide())


def test_fails_anyway():
    asyncio.run(collide())
    assert [] == ["its own"]
"""


def bare(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["", "xdist"])
def test_failure_in_colours(
    workers: list[str], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With colours it fits the terminal and shows the lines; the file of JUnit has no colours."""
    monkeypatch.setenv("COLUMNS", "60")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(
        "--grpc-guard", "--color=yes", "--junit-xml=junit.xml", *ALONE, *workers
    )
    result.assert_outcomes(failed=2)
    lines = [bare(line) for line in result.outlines]
    begun = lines.index("1 finding of grpc_guard")
    assert lines[begun + 1 : begun + 4] == [
        "concurrent-read: read by task 'reader-2' on",
        "  /test.Program/Numbers (client, aio) refused: task",
        lines[begun + 3],
    ]
    sites = [line for line in lines if line.startswith("    > ")]
    assert sites == 2 * ["    > 28 |     return await call.read()"]
    reports = [line for line in lines if line.startswith(("  ", "concurrent-read"))]
    assert max(map(len, reports)) <= 60
    is_coloured = any(
        line.startswith("\x1b[1m\x1b[31mconcurrent-read:") for line in result.outlines
    )
    assert is_coloured is not bool(workers)  # what a worker made travels as plain text
    assert any(bare(line) != line and "concurrent-read (error)" in line for line in result.outlines)
    file = (pytester.path / "junit.xml").read_text()
    assert "\x1b" not in file
    failures = [failure.text or "" for failure in ElementTree.fromstring(file).iter("failure")]
    assert "1 finding of grpc_guard\nconcurrent-read: read by task 'reader-2' on\n" in failures[0]


def test_failure_in_a_file(pytester: pytest.Pytester) -> None:
    """Where no terminal is, the first line of the report is whole, to be grepped."""
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("--grpc-guard", *ALONE)
    result.stdout.re_match_lines([r"concurrent-read: read by task 'reader-2' on .* for .* ms"])
