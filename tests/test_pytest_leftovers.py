"""The pytest plugin and what tests leave open: told with the test's id, and failing nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from test_pytest_plugin import inner, lines_of, plain_environment  # noqa: F401  # fixtures

from grpc_guard import Finding, _leaks, _patches, _thresholds
from grpc_guard._findings import ledger

pytest_plugins = ["pytester"]

# Imported before an inner session does it: pytester throws away the modules of those.
IMPORTED = (_leaks, _patches)

LEAKING = """
import threading

import grpc
import pytest

held = []
go = threading.Event()


def use(arrived):
    channel = grpc.insecure_channel("127.0.0.1:1")
    arrived.set()
    go.wait(20)


def test_leaving_a_thread():
    arrived = threading.Event()
    threading.Thread(target=use, args=(arrived,), daemon=True).start()
    assert arrived.wait(20)


def test_closing():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        channel.unary_stream("/a/b")(b"").cancel()


def test_dropping():
    grpc.insecure_channel("127.0.0.1:1").unary_stream("/a/b")(b"", wait_for_ready=True)


def test_keeping_in_the_module():
    held.append(grpc.insecure_channel("127.0.0.1:1"))


class Client:
    def channel(self):
        self.made = grpc.insecure_channel("127.0.0.1:1")


@pytest.fixture(scope="module")
def client():
    client = Client()
    yield client
    client.made.close()


@pytest.fixture(scope="class")
def channel():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        yield channel


@pytest.fixture
def own():
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        yield channel


def test_a_wider_fixture_that_makes_one_later(client):
    client.channel()


class TestFixtures:
    def test_of_the_class(self, channel, own):
        pass

    def test_of_the_class_again(self, channel):
        pass


def test_that_fails():
    channel = grpc.insecure_channel("127.0.0.1:1")
    assert False


def test_the_end():
    go.set()
    held.clear()
"""


def test_leaving_something_open(pytester: pytest.Pytester, inner: Any) -> None:  # noqa: F811
    """Only what a test made and leaked is told of, in the summary; no test fails for it."""
    pytester.makepyfile(LEAKING)
    result = inner("--grpc-guard", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=8, failed=1)
    lines = lines_of(result)
    assert lines[0].endswith(", 1 finding")
    assert lines[1] == "  unclosed-channel (warning)"
    assert re.fullmatch(
        r"    test_leaving_something_open\.py:\d+  127\.0\.0\.1:1 \(client, sync\)  x1", lines[2]
    )
    assert len(lines) == 3


def test_the_test_that_leaves_it(
    pytester: pytest.Pytester,
    inner: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The finding carries the id of the test."""
    seen: list[Finding] = []
    ledger.add_sink(seen.append)
    try:
        pytester.makepyfile(LEAKING)
        inner("--grpc-guard", "-p", "no:cacheprovider")
    finally:
        ledger.remove_sink(seen.append)
    assert [(finding.rule, finding.test) for finding in seen] == [
        (
            "unclosed-channel",
            "test_the_test_that_leaves_it.py::test_leaving_a_thread",
        )
    ]
    assert ledger.era is None


def test_leaving_something_open_unguarded(
    pytester: pytest.Pytester,
    inner: Callable[..., Any],  # noqa: F811
) -> None:
    """Where the guard is off, nothing is looked for."""
    pytester.makepyfile(LEAKING)
    result = inner("-p", "no:cacheprovider")
    result.assert_outcomes(passed=8, failed=1)
    assert lines_of(result) == []


def test_a_bad_threshold(
    pytester: pytest.Pytester,
    inner: Callable[..., Any],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bad threshold is a usage error that names the variable and what it takes."""
    monkeypatch.setenv("GRPC_GUARD_KEPT", "many")
    monkeypatch.setattr(_thresholds, "_current", None)
    result = inner("--grpc-guard")
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    assert (
        "ERROR: GRPC_GUARD_KEPT: 'many' is no number; use a whole number, 0 or more"
        in result.errlines
    )
