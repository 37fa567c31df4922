"""A snapshot with something in every field."""

from __future__ import annotations

import dataclasses

from inside import RULES, Frame

from grpc_guard import Finding, Owner, inspection

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
    threads=(
        inspection.ThreadSnapshot("MainThread", None, (HERE,)),
        inspection.ThreadSnapshot("loop", "Task-1", (HERE, HERE)),
    ),
    tasks=(inspection.TaskSnapshot("Task-2", (HERE,)),),
)
