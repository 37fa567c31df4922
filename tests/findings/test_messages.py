"""The wording of reports, asserted whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from inside import (
    CONCURRENT_READ,
    HANDLER_RETURNED,
    Api,
    ConcurrentRead,
    Frame,
    Mode,
    Side,
    Subject,
    duration,
    findings_wording,
    rule_named,
)

from grpc_guard import Finding, Owner

OWNER = Owner(
    kind="task",
    name="reader-1",
    operation="read",
    held_seconds=0.0123,
    stack=(
        Frame("app.py", 40, "main", "await consume(call)"),
        Frame("app.py", 42, "consume", "message = await call.read()"),
    ),
)
CALLER = Owner(kind="task", name="reader-2", operation="__anext__")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "an unknown time"),
        (0.0, "0 ms"),
        (1e-8, "0 ms"),
        (0.0000124, "0.0124 ms"),
        (0.0123, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (1.0, "1.0 s"),
        (12.54, "12.5 s"),
        (119.94, "119.9 s"),
        (120.0, "2 min"),
        (7200.0, "120 min"),
    ],
)
def test_duration(seconds: float | None, words: str) -> None:
    """Durations are told as people tell them."""
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        (None, ""),
        (Mode.RAISE, " refused"),
        (Mode.WARN, " let through"),
        (Mode.SERIALIZE, " made to wait"),
    ],
)
def test_first_line(mode: Mode | None, outcome: str) -> None:
    """The first line is complete by itself, and says what became of the caller."""
    subject = Subject("/test.Guard/Chat", Side.CLIENT, Api.AIO)
    assert findings_wording.first_line(ConcurrentRead(OWNER), subject, CALLER, mode) == (
        "concurrent-read: __anext__ by task 'reader-2' on /test.Guard/Chat (client, aio)"
        f"{outcome}: task 'reader-1' has been in read for 12.3 ms"
    )


def finding(**changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "rule": CONCURRENT_READ,
        "severity": "error",
        "rpc": "/test.Guard/Chat",
        "side": "client",
        "api": "aio",
        "message": "the first line",
        "remedy": "do it otherwise",
        "caller": CALLER,
        "owner": OWNER,
    }
    return Finding(**{**fields, **changes})


def test_report() -> None:
    """A report names owner and caller with their lines, and says what would have happened."""
    rule = CONCURRENT_READ
    assert findings_wording.report(finding()).splitlines() == [
        "the first line",
        "  owner:  task 'reader-1' in read for 12.3 ms",
        '    File "app.py", line 40, in main',
        "      await consume(call)",
        '    File "app.py", line 42, in consume',
        "      message = await call.read()",
        "  caller: task 'reader-2' in __anext__",
        "    (no line of the program on its stack; grpc-guard run notes where tasks are made)",
        f"  without the guard: {rule.unguarded('client', 'aio')}",
        "  how to fix it: do it otherwise",
        f"  rule: concurrent-read ({rule.summary}); source: {rule.source}",
    ]


@pytest.mark.parametrize(
    "name", ["cancelled-read", "closed-channel", "stream-limit", "use-after-fork", "wrong-loop"]
)
def test_report_of_what_is_over(name: str) -> None:
    """An owner who has done something before is in nothing any more: the time is counted from then."""
    report = findings_wording.report(finding(rule=rule_named(name))).splitlines()
    assert report[1] == "  owner:  task 'reader-1' in read, 12.3 ms ago"


@pytest.mark.parametrize(("kind", "name"), [("thread", "reader-2"), ("task", "(not found)")])
def test_report_of_a_party_without_lines(kind: str, name: str) -> None:
    """Only of a task that is known would `grpc-guard run` know more."""
    caller = Owner(kind, name, "read")
    report = findings_wording.report(finding(caller=caller)).splitlines()
    assert "    (no line of the program on its stack)" in report


def test_frames_of_libraries_are_folded() -> None:
    """Several frames of libraries in a row are a line that counts them; the last line stays."""
    here, installed = "app.py", "/venv/lib/python3.11/site-packages"

    def at(file: str, line: int) -> Frame:
        return Frame(file, line, "f", "")

    stack = (
        *(at(f"{installed}/_pytest/main.py", n) for n in range(3)),
        *(at(f"{installed}/{name}", 1) for name in ("pluggy/_call.py", "six.py")),
        at(json.__file__, 9),
        at(here, 1),
        at(json.__file__, 10),  # one alone is no longer than a line that counts it
        at(here, 2),
        *(at(json.__file__, n) for n in (11, 12)),  # the last is where it happened
    )
    caller = Owner("thread", "t", "next", None, stack)
    report = findings_wording.report(finding(owner=None, caller=caller)).splitlines()
    assert report[2:-3] == [
        "    … 6 frames of _pytest, pluggy, six, Python",
        '    File "app.py", line 1, in f',
        f'    File "{json.__file__}", line 10, in f',
        '    File "app.py", line 2, in f',
        f'    File "{json.__file__}", line 11, in f',
        f'    File "{json.__file__}", line 12, in f',
    ]


def test_report_without_owner() -> None:
    """A rule without an owner has a report without one; a line without source has none."""
    rule = HANDLER_RETURNED
    caller = Owner("thread", "late", "next", None, (Frame("<string>", 1, "<module>", ""),))
    told = finding(rule=rule, owner=None, caller=caller, side="server", api="sync")
    assert findings_wording.report(told).splitlines() == [
        "the first line",
        "  caller: thread 'late' in next",
        '    File "<string>", line 1, in <module>',
        f"  without the guard: {rule.unguarded('server', 'sync')}",
        "  how to fix it: do it otherwise",
        f"  rule: handler-returned ({rule.summary}); source: {rule.source}",
    ]
