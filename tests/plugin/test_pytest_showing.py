"""A failure on the terminal of pytest: fitted to it, in colours by its own writer, plain in files."""

from __future__ import annotations

import copy
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from inside import showing
from support.sessions import ALONE

pytest_plugins = ["pytester"]

TESTS = """
import dataclasses

from inside import Frame, ledger
from support.findings import CALLER, FINDING

LINE = Frame(__file__, 3, "consume", "from inside import Frame, ledger")


def find():
    caller = dataclasses.replace(CALLER, stack=(LINE,))
    ledger.record(dataclasses.replace(FINDING, caller=caller, owner=None, test=ledger.test))


def test_swallowed():
    find()


def test_fails_anyway():
    find()
    assert [] == ["its own"]
"""


@pytest.fixture(autouse=True)
def findings_at_hand(monkeypatch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> None:
    """Let inner sessions make up a finding: that nothing has to race keeps them short."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    monkeypatch.setenv("COLUMNS", "60")
    pytester.makepyfile(TESTS)


def bare(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


REPORT = [  # the line above is empty, and left out
    "concurrent-read: next by thread 'reader-2' on /x.Y/Z",
    "  (client, sync) refused: …",
    "",
    "  caller: thread 'reader-2' in next",
    "    {file}:3 in consume",
    "    > 3 | from inside import Frame, ledger",
    "      4 | from support.findings import CALLER, FINDING",
    "",
]


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["", "xdist"])
def test_failure_in_colours(workers: list[str], pytester: pytest.Pytester) -> None:
    """With colours it fits the terminal and shows the lines; the file of JUnit has no colours."""
    result = pytester.runpytest_subprocess(
        "--grpc-guard", "--color=yes", "--junit-xml=junit.xml", *ALONE, *workers
    )
    lines = [bare(line) for line in result.outlines]
    report = [line.replace("{file}", "test_failure_in_colours.py") for line in REPORT]
    for begun in (
        lines.index("1 finding of grpc_guard") + 1,
        lines.index("--------------- Captured grpc_guard call ---------------".center(60, "-")) + 1,
    ):
        assert lines[begun : begun + len(report)] == report
    is_coloured = "\x1b[1m\x1b[31mconcurrent-read:\x1b[0m" in result.stdout.str()
    assert is_coloured is not bool(workers)  # what a worker made travels as plain text
    assert "\x1b[31mconcurrent-read (error)\x1b[0m" in result.stdout.str()
    file = (pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert "\x1b" not in file
    failure, *_ = ElementTree.fromstring(file).iter("failure")
    assert f"1 finding of grpc_guard\n{report[0]}\n" in str(failure.text)


def test_copying_a_failure() -> None:
    """Plugins copy and pickle reports: a copy shows what the first one does."""
    shown = copy.copy(showing._InColours("as pytest has it", []))
    assert str(shown) == "as pytest has it"
    assert shown.upper() == "AS PYTEST HAS IT"


def test_failure_in_a_file(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no terminal is, the first line of the report is whole, to be grepped."""
    for name in ("CI", "BUILD_NUMBER"):  # there pytest's summary has every line once more
        monkeypatch.delenv(name, raising=False)
    result = pytester.runpytest_subprocess("--grpc-guard", *ALONE)
    assert result.outlines.count(f"{REPORT[0]} {REPORT[1].strip()}") == 2
