"""Snapshots as protobuf messages: they come back as they were, also from a later version."""

from __future__ import annotations

import dataclasses
from typing import Any

from inside import RULES, Frame, inspect_messages, inspection_pb2

from grpc_guard import Finding, Owner, Rule, inspection

HERE = Frame("app.py", 12, "consume", "next(call)")
OWNER = Owner("thread", "reader", "next", 1.5, (HERE,), "asked-at", HERE)
FINDING = Finding(
    rule=RULES["concurrent-read"],
    severity="error",
    rpc="/a.B/C",
    side="client",
    api="sync",
    message="…",
    remedy="…",
    caller=dataclasses.replace(OWNER, held_seconds=None),
    owner=OWNER,
    count=2,
    test="t",
    time="2026-01-01T00:00:00.000Z",
)
SNAPSHOT = inspection.Snapshot(
    pid=1,
    program="app.py",
    time="2026-01-01T00:00:00.000Z",
    mode="raise",
    streams=(
        inspection.StreamSnapshot(
            number=1,
            rpc="/a.B/C",
            side="client",
            api="sync",
            mode="raise",
            state="open",
            age_seconds=0.0,
            origin=OWNER,
            channel=1,
            read=inspection.DirectionSnapshot(OWNER, (OWNER,), 0.0, "thread 'x'", True, HERE),
            write=None,
        ),
        inspection.StreamSnapshot(
            number=2,
            rpc="/a.B/D",
            side="server",
            api="aio",
            mode="warn",
            state="over",
            age_seconds=None,
            origin=None,
            channel=None,
            read=None,
            write=inspection.DirectionSnapshot(),
        ),
    ),
    channels=(inspection.ChannelSnapshot(1, "here:1", "sync", "ready", 1, OWNER),),
    servers=(
        inspection.ServerSnapshot(
            1,
            "sync",
            None,
            (
                inspection.HandlerSnapshot("/a.B/D", OWNER, None),
                inspection.HandlerSnapshot("/a.B/D", OWNER, False),
            ),
            ("/a.B/D",),
        ),
    ),
    findings=(FINDING,),
    deductions=(
        inspection.Deduction("joined", "…", (1, 2)),
        inspection.Deduction("pool-held", "…"),
    ),
)


def sent(snapshot: inspection.Snapshot) -> Any:
    data = inspect_messages.message_of(snapshot).SerializeToString()
    return inspection_pb2.Snapshot.FromString(data)


def test_there_and_back() -> None:
    """Everything comes back as it was: what is None, what is 0, what is empty."""
    assert inspect_messages.snapshot_of(sent(SNAPSHOT)) == SNAPSHOT


def test_a_rule_of_a_later_version() -> None:
    """A finding of a rule that this version does not know is told as far as it says what it is."""
    message = sent(SNAPSHOT)
    message.findings[0].rule = "late-metadata"
    (finding,) = inspect_messages.snapshot_of(message).findings
    assert isinstance(finding.rule, Rule)
    assert (finding.rule.name, finding.rule.severity) == ("late-metadata", "error")


def test_a_name_that_is_no_text() -> None:
    """The name of a file may hold bytes that are no text: they are escaped."""
    odd = dataclasses.replace(SNAPSHOT, program="app\udcff.py")
    assert inspect_messages.snapshot_of(sent(odd)).program == "app\\udcff.py"
