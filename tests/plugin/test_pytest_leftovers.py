"""The pytest plugin and what tests leave open: told with the test's id, and failing nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from inside import Leftovers, lifecycle_leaks
from support.sessions import ALONE, lines_of

pytest_plugins = ["pytester"]

Inner = Callable[..., pytest.RunResult]

TELLING = """
import grpc_guard


def pytest_unconfigure():
    for finding in grpc_guard.findings():
        print("told:", finding.rule, finding.test)
"""


def test_fixtures_of_a_wider_scope() -> None:
    """A fixture that outlives a test may keep what it likes, until it is torn down."""
    fixture = SimpleNamespace(scope="module", cached_result=None, _finalizers=[])
    leftovers = Leftovers()
    with leftovers.setting_up(fixture):
        assert list(leftovers._fixtures.values()) == [fixture]
    leftovers.torn_down(fixture)
    assert leftovers._fixtures == {}


def test_a_test_that_never_spoke_grpc(monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing was guarded, there is no check, and nothing is imported for one."""
    monkeypatch.delitem(sys.modules, "grpc_guard._lifecycle.channels")
    monkeypatch.setattr(lifecycle_leaks, "look", None)
    Leftovers().look(())
    assert "grpc_guard._lifecycle.channels" not in sys.modules


@pytest.fixture
def inner(pytester: pytest.Pytester) -> Inner:
    """Return a function that runs a session in a process of its own."""
    return lambda *arguments: pytester.runpytest_subprocess(*ALONE, *arguments)


LEAKING = """
import threading

import grpc
import pytest

held = []
go = threading.Event()


def use(arrived):
    channel = grpc.insecure_channel("127.0.0.1:1")
    arrived.set()
    go.wait(300)


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


def test_leaving_something_open(pytester: pytest.Pytester, inner: Inner) -> None:
    """Only what a test itself made and leaked is reported, with its id; no test fails for it."""
    pytester.makepyfile(LEAKING)
    pytester.makeconftest(TELLING)
    result = inner("--grpc-guard", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=8, failed=1)
    lines = lines_of(result)
    assert lines[0].endswith(", 1 finding")
    assert lines[1] == "  unclosed-channel (warning)"
    assert re.fullmatch(
        r"    test_leaving_something_open\.py:\d+  127\.0\.0\.1:1 \(client, sync\)  x1", lines[2]
    )
    assert lines[3] == "      in test_leaving_something_open.py::test_leaving_a_thread"
    assert [line for line in result.outlines if line.startswith("told:")] == [
        "told: unclosed-channel test_leaving_something_open.py::test_leaving_a_thread"
    ]


def test_leaving_something_open_unguarded(pytester: pytest.Pytester, inner: Inner) -> None:
    """If the guard is off, there is no check."""
    pytester.makepyfile(LEAKING)
    result = inner("-p", "no:cacheprovider")
    result.assert_outcomes(passed=8, failed=1)
    assert lines_of(result) == []


def test_a_bad_threshold(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad threshold is a usage error that names the variable and what it takes."""
    monkeypatch.setenv("GRPC_GUARD_KEPT", "many")
    result = inner("--grpc-guard")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "ERROR: GRPC_GUARD_KEPT: 'many' is not a number; use a whole number, 0 or more"
    assert message in result.errlines
