"""A finding that was made up, in a project that is nowhere."""

from __future__ import annotations

from pathlib import Path

from inside import CONCURRENT_READ, Frame

from grpc_guard import Finding, Owner

ROOT = Path("/project").absolute()


def frame(file: str = str(ROOT / "app" / "main.py"), line: int = 7) -> Frame:
    return Frame(file, line, "consume", "message = next(call)")


CALLER = Owner("thread", "reader-2", "next", None, (frame(line=3), frame()))
OWNER = Owner("task", "reader-1", "read", 0.25, (frame("/lib/grpc_app.py", 9),))
FINDING = Finding(
    rule=CONCURRENT_READ,
    severity="error",
    rpc="/x.Y/Z",
    side="client",
    api="sync",
    message="concurrent-read: next by thread 'reader-2' on /x.Y/Z (client, sync) refused: …",
    remedy="let one read",
    caller=CALLER,
    owner=OWNER,
    count=2,
    test="tests/test_x.py::test_y",
    time="2026-01-01T00:00:00.000Z",
)
