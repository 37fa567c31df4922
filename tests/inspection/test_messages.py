"""Snapshots as protobuf messages: they come back as they were, also from a later version."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from inside import inspect_messages, inspection_pb2
from support.snapshots import SNAPSHOT
from support.staging import PATIENCE

from grpc_guard import Rule, inspection


def sent(snapshot: inspection.Snapshot) -> Any:
    return inspection_pb2.Snapshot.FromString(inspect_messages.encoded(snapshot))


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
    finding = dataclasses.replace(SNAPSHOT.findings[0], rpc="/app\udcff")
    assert inspect_messages.message_of_finding(finding).rpc == "/app\\udcff"


INTERRUPTED = """
import atexit
import grpc_guard
from grpc_guard._inspect.messages import encoded

atexit.register(lambda: print(len(encoded(grpc_guard.snapshot()))))
grpc_guard.snapshot()
raise KeyboardInterrupt
"""


@pytest.mark.skipif(os.name != "posix", reason="on Windows a process dies of no signal")
def test_a_message_made_at_the_end_of_an_interrupted_program() -> None:
    """The program dies of SIGINT still: CPython forgets that where a string is evaluated meanwhile."""
    ran = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert int(ran.stdout) > 0, ran.stderr
    assert ran.returncode == -signal.SIGINT
