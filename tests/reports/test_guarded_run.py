"""A guarded run: several processes judged and summed up as one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from inside import (
    CONCURRENT_READ,
    UNCLOSED_CHANNEL,
    Adoption,
    Allowed,
    Frame,
    GuardedRun,
    Learnt,
    Pair,
    Place,
    Process,
    Totals,
)

from grpc_guard import Finding, Owner

ROOT = Path("/project").absolute()


def finding(function: str = "read", **changed: object) -> Finding:
    site = Frame(str(ROOT / "app.py"), 7, function, "call.read()")
    made = Finding(
        CONCURRENT_READ,
        "error",
        "/x.Y/Z",
        "client",
        "aio",
        "concurrent-read: …",
        "let one read",
        Owner("task", "reader-2", "read", None, (site,)),
        test=None,
    )
    return dataclasses.replace(made, **changed)


WARNING = finding(rule=UNCLOSED_CHANNEL, severity="warning")
PAIR = Pair((Place("a.py", 1, "f"), Place("b.py", 2, "g")), first_run=1)


def run_of(*processes: Process, allowed: str | None = None, **options: bool) -> GuardedRun:
    entries = [] if allowed is None else [Allowed("*", f"*:{allowed}", "known well")]
    return GuardedRun(Adoption(ROOT, entries), processes, **options)


def test_nothing() -> None:
    """A run without findings does not fail, and its summary says how much was guarded."""
    run = run_of(Process(1, [], 2, 30), Process(2, [], 1, 1))
    assert run.failing == []
    assert list(run.summary()) == [
        "grpc_guard: 3 streams and 31 operations guarded, 0 findings",
    ]
    assert list(run.notes()) == []


def test_findings_of_several_processes() -> None:
    """Equal ones are one in summary and report; all are there for the verdict."""
    run = run_of(Process(1, [finding()], 1, 2), Process(2, [finding(), WARNING], 1, 2))
    assert run.findings == [finding(), finding(), WARNING]
    assert run.failing == [finding(), finding()]
    assert list(run.summary())[1:] == [
        "  concurrent-read (error)",
        "    app.py:7  /x.Y/Z (client, aio)  x2",
        "  unclosed-channel (warning)",
        "    app.py:7  /x.Y/Z (client, aio)  x1",
    ]
    report = run.report("raise", 1)
    assert [found.count for found in report.findings] == [2, 1]
    assert (report.mode, report.pid, report.streams, report.operations) == ("raise", 1, 2, 4)


def test_warnings_do_not_fail() -> None:
    """A run with warnings alone has a good verdict."""
    assert run_of(Process(1, [WARNING])).failing == []


def test_allowed_findings() -> None:
    """What is allowed is neither in verdict nor summary, is noted, and is excused in the report."""
    run = run_of(Process(1, [finding(), finding("main")]), allowed="read")
    assert run.failing == run.new_findings == [finding("main")]
    assert len(list(run.summary())) == 3
    (note,) = run.notes()
    assert "known well" in note
    report = run.report("raise", 1)
    assert [report.excuse(found) for found in report.findings] == ["known well", None]


def test_baseline(tmp_path: Path) -> None:
    """With its own findings as the baseline a run has nothing new."""
    run = run_of(Process(1, [finding(), finding("main")]))
    run = run.knowing(run.merged_into(tmp_path / "known.json", "--write-baseline"))
    assert run.new_findings == []
    assert run.findings == [finding(), finding("main")]


@pytest.mark.parametrize("is_probed", [True, False])
def test_probe(is_probed: bool) -> None:
    """What the probes did is added up, and said where the run was probed."""
    processes = [Process(1), Process(2)]
    for process in processes:
        process.add(Learnt(Totals(1, 2, 0, 0.5), (PAIR,)))
    run = run_of(*processes, is_probed=is_probed)
    assert run.pairs == [PAIR, PAIR]
    expected = ["probe: 2 near misses, 4 delays, 0 synchronised pairs, 1.00 s spent"]
    assert list(run.notes()) == run.report("raise", 1).notes == (expected if is_probed else [])


def test_process_told_to_another() -> None:
    """What a worker tells its controller arrives as it was."""
    process = Process(7, [finding(), WARNING], 3, 4, not_kept={("concurrent-read", "/x.Y/Z"): 5})
    process.add(Learnt(Totals(1, 2, 0, 0.5), ()))
    assert Process.read(json.loads(json.dumps(process.told()))) == process
