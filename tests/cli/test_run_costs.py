"""What ``grpc-guard run`` costs a program with a large heap, and one that is refused for ever."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import (
    CONCURRENT_READ,
    Frame,
    Process,
    Writer,
    finding_to_dict,
    findings_ledger,
    ledger,
    run_spool,
)
from inside import read as read_spool
from support.staging import PATIENCE

import grpc_guard
from grpc_guard import Finding, Owner

PROGRAMS = Path(__file__).parents[1] / "programs"


def finding(owner: str | None = "b", **changed: Any) -> Finding:
    """Return a finding of a caller at line 1, against an owner at a line, if that was still there."""
    parties = [
        Owner("thread", name, "next", None, (Frame("app.py", line, name, "next(call)"),))
        for name, line in (("a", 1), (owner, 2))
        if name is not None
    ]
    made = Finding(
        rule=CONCURRENT_READ,
        severity="error",
        rpc="/x.Y/Z",
        side="client",
        api="sync",
        message="",
        remedy="",
        caller=parties[0],
        owner=None if owner is None else parties[1],
    )
    return dataclasses.replace(made, **changed)


@pytest.fixture
def writer(tmp_path: Path, found: Callable[[], list[Finding]]) -> Iterator[Writer]:
    """Yield a writer that hears of findings as a process under ``run`` does; they are asked for."""
    writer = Writer(str(tmp_path))
    ledger.add_sink(writer.found, sparse=True)
    yield writer
    ledger.remove_sink(writer.found)
    found()


def spooled(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.jsonl"))


def counts(folder: Path) -> list[int]:
    """Return the counts of what the launcher reads."""
    return [each.count for process in read_spool(str(folder)) for each in process.findings]


# The program


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
def test_nothing_walks_the_heap(tmp_path: Path) -> None:
    """Neither a fork nor a refusal looks at the objects of the program."""
    report = tmp_path / "report.json"
    process = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", "--report", report, "heap.py"],
        cwd=PROGRAMS,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert (process.returncode, process.stdout) == (66, "0 in the child, 0 in all\n")
    (found,) = json.loads(report.read_text())["findings"]
    assert found["count"] == 1000


# The spool


def test_equal_findings_are_told_now_and_then(tmp_path: Path, writer: Writer) -> None:
    """A killed process has reported at least half of them, and one that ends all of them."""
    for _ in range(5000):
        ledger.record(finding())
    assert counts(tmp_path) == [4096]
    writer.ended()
    assert counts(tmp_path) == [5000]
    assert spooled(tmp_path) < 5000


def test_findings_after_the_end(tmp_path: Path, writer: Writer) -> None:
    """A finding after the process has reported its end is reported at once, and only once."""
    for _ in range(5):
        ledger.record(finding())
    writer.ended()
    ledger.add_sink(writer.found)
    for _ in range(4):
        ledger.record(finding())
    ledger.remove_sink(writer.found)
    assert counts(tmp_path) == [9]
    lines = next(tmp_path.glob("*.jsonl")).read_bytes().splitlines()
    assert [json.loads(line).get("again") for line in lines[-4:]] == [
        [[1, n]] for n in (6, 7, 8, 9)
    ]


def test_what_could_not_be_told_is_told_at_the_end(tmp_path: Path, writer: Writer) -> None:
    """A disk that was full for a while costs no finding."""
    ledger.remove_sink(writer.found)
    ledger.record(finding())
    ledger.record(finding())
    writer.ended()
    assert counts(tmp_path) == [2]
    ledger.add_sink(writer.found, sparse=True)


def test_a_party_that_had_left(tmp_path: Path, writer: Writer) -> None:
    """A finding that was seen with one party first is no second one."""
    for _ in range(4):
        ledger.record(finding(None))
    ledger.record(finding())
    ledger.record(finding(None))
    writer.ended()
    (process,) = read_spool(str(tmp_path))
    assert [(each.count, each.owner is None) for each in process.findings] == [(6, False)]


def test_in_any_order(tmp_path: Path) -> None:
    """The later of two threads may report first, and both may report the whole finding."""
    whole = {"streams": 1, "operations": 2, "found": finding_to_dict(finding())}
    lines = [
        {"again": [[1, 7]], "streams": 1, "operations": 2},
        {**whole, "number": 1},
        {**whole, "number": 2},
        {"again": [[2, 4], [9, 9]], "streams": 1, "operations": 2},
    ]
    (tmp_path / "1-7.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert counts(tmp_path) == [7]


def test_always_new_findings(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer does not grow if the program clears its findings and has new ones."""
    monkeypatch.setattr(run_spool, "KEPT", 3)
    for number in range(10):
        ledger.record(finding(test=str(number)))
        ledger.record(finding(test=str(number)))
        grpc_guard.clear_findings()
    assert len(writer._told) <= 3
    assert counts(tmp_path) == [2] * 10


def test_findings_that_are_not_kept(
    tmp_path: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They reach the launcher, though only their number does; rarely before the end."""
    monkeypatch.setattr(findings_ledger, "KEPT", 2)
    ledger.record(finding(test="kept"))
    ledger.record(finding(test="kept too"))
    for number in range(9):
        ledger.record(finding(test=str(number)))
        ledger.record(finding(test="kept"))  # each doubling of which tells of them as well
    (process,) = read_spool(str(tmp_path))
    assert process.not_kept == {("concurrent-read", "/x.Y/Z"): 7}
    (file,) = tmp_path.glob("*.jsonl")
    ledger.record(finding(test="kept too"))
    assert "not_kept" not in json.loads(file.read_bytes().splitlines()[-1])
    writer.ended()
    (tmp_path / f"{file.stem.replace('-', '1-')}.jsonl").write_bytes(file.read_bytes())
    (process,) = read_spool(str(tmp_path))
    assert process.not_kept == {("concurrent-read", "/x.Y/Z"): 18}


def test_a_spool_of_any_size(tmp_path: Path) -> None:
    """The launcher reads it line by line."""
    line = json.dumps({"streams": 1, "operations": 2, "padding": "x" * 10_000}).encode() + b"\n"
    with (tmp_path / "1-7.jsonl").open("wb") as file:
        for _ in range(2000):
            file.write(line)
    tracemalloc.start()
    try:
        assert read_spool(str(tmp_path)) == [Process(7, [], 1, 2)]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_nobody_else_reads_the_spool(tmp_path: Path, writer: Writer) -> None:
    """It shows lines of the program."""
    writer.started()
    (file,) = tmp_path.glob("*.jsonl")
    assert file.stat().st_mode & 0o777 == 0o600
