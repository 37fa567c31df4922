"""No mode is mute: what is logged of a finding, and the line at the end of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from inside import reporting
from support.stage import handler, withheld
from support.staging import (
    PATIENCE,
    Gate,
    inside_grpc,
    logged_by_us,
    path,
    sync_channel,
    sync_server,
)

import grpc_guard
from grpc_guard import ConcurrencyError

ROOT = Path(grpc_guard.__file__).parents[1]

SWALLOWING = """
import asyncio

import grpc_guard
from collision import collide

with grpc_guard.guarded():
    for _ in range(3):
        asyncio.run(collide())
print(sum(finding.count for finding in grpc_guard.findings()))
"""


def race(times: int = 1) -> list[ConcurrencyError]:
    """Let a thread be refused so often while another is inside; return what it got."""
    gate = Gate()
    refused = []
    method = handler("unary_stream", lambda request, context: withheld(gate))
    with sync_server({"Hold": method}, mode=None) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Hold"))(b"")
        owner = inside_grpc(next, call, name="owner")
        for _ in range(times):
            with pytest.raises(ConcurrencyError) as caught:
                next(call)
            refused.append(caught.value)
        gate.open()
        owner.result()
        call.cancel()
    return refused


def test_a_refusal_is_logged(found: object, caplog: pytest.LogCaptureFixture) -> None:
    """A program that swallows the exception has a line in its log, with both places."""
    (error,) = race()
    finding = error.finding
    assert finding.owner is not None
    assert finding.caller.site is not None
    assert finding.owner.site is not None
    places = [f"{site.file}:{site.line}" for site in (finding.caller.site, finding.owner.site)]
    assert logged_by_us(caplog) == [f"{finding.message} ({places[0]} against {places[1]})"]
    found()  # type: ignore[operator]


def test_equal_refusals_are_logged_once(found: object, caplog: pytest.LogCaptureFixture) -> None:
    """The first of equal refusals is logged, and then every tenfold."""
    race(10)
    assert len(logged_by_us(caplog)) == 2
    found()  # type: ignore[operator]


def test_told_elsewhere(
    found: object, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a run or a test session shows findings itself, the log does not say them again."""
    monkeypatch.setattr(reporting.told, "elsewhere", True)
    race()
    reporting.sum_up()
    assert logged_by_us(caplog) == []
    found()  # type: ignore[operator]


def test_the_end_of_a_process_that_swallows_everything() -> None:
    """One line at the end says how much was found."""
    programs = ROOT / "tests" / "programs"
    ran = subprocess.run(
        [sys.executable, "-c", SWALLOWING],
        env={"PYTHONPATH": f"{ROOT}:{programs}", "GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
    )
    ours = ("concurrent-read: ", "grpc_guard: ")  # gRPC's core may have a line of its own
    first, last = (line for line in ran.stderr.splitlines() if line.startswith(ours))
    number = ran.stdout.splitlines()[-1]
    assert first.startswith(ours[0])
    assert last == f"grpc_guard: 1 finding in this process: concurrent-read {number}x"
