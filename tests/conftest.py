"""Fixtures of every test: coroutine tests run, and no finding goes unnoticed."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # no log lines about ended connections

import grpc_guard

pytest.register_assert_rewrite("support")

from inside import (  # noqa: E402
    abandoned,
    catalogue_thresholds,
    core_fields,
    ledger,
    outliving,
)
from support import staging  # noqa: E402

# A signal that is ignored, as in a shell's background jobs and under nohup, stays ignored in the
# programs that the tests start, and these would not end by it. One that is handled does not.
for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda signum, frame: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests that are coroutine functions with asyncio.run and a deadline."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _synchronous(item.obj)


def pytest_sessionfinish() -> None:
    """Write what was measured of coverage: pytest-xdist kills a worker that is slow to end."""
    coverage = sys.modules.get("coverage")
    measuring = None if coverage is None else coverage.Coverage.current()
    if measuring is not None:
        measuring.save()


def _synchronous(test: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        staging.run(test(*args, **kwargs))

    return run


_UNHURRIED = catalogue_thresholds.Thresholds(
    slow_callback_seconds=2 * staging.PATIENCE,
    abandoned_handler_seconds=2 * staging.PATIENCE,
    blocked_loop_seconds=2 * staging.PATIENCE,
    starved_server_seconds=2 * staging.PATIENCE,
    parked_iterator_seconds=2 * staging.PATIENCE,
)


@pytest.fixture(autouse=True)
def unhurried() -> Iterator[None]:
    """Let the machine take its time: what takes long is no finding unless the test says so."""
    with pytest.MonkeyPatch.context() as patch:  # of its own: tests undo theirs
        patch.setattr(catalogue_thresholds, "_current", _UNHURRIED)
        patch.setattr(outliving, "_MOMENT", 2 * staging.PATIENCE)
        abandoned.watch.forget()  # what it waits for would be an earlier test's time
        yield


@pytest.fixture(autouse=True)
def uncounted() -> Iterator[None]:
    """Let a test that counts operations, as the plugin and ``run`` do, leave no trace of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_fields, "counting", core_fields.counting)
        yield


@pytest.fixture(autouse=True)
def collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let what a test that is not to hear complaints leaves die before its end.

    grpcio's async generators that were never iterated over complain when they die: if the
    collector took them later, another test would fail of it.
    """
    yield
    if request.node.get_closest_marker("filterwarnings") is not None:
        gc.collect()


@pytest.fixture(autouse=True)
def found() -> Iterator[Callable[[], list[grpc_guard.Finding]]]:
    """Yield a function that returns what has been found since it was last asked.

    A finding that the test did not ask for fails the test: legal programs have none. It is not
    this test's if it is about a thread of an earlier one that still stands in its handler.
    """
    earlier = {thread.name for thread in threading.enumerate()}

    def is_earlier(finding: grpc_guard.Finding) -> bool:
        return finding.rule.name == "abandoned-handler" and finding.caller.name in earlier

    def take() -> list[grpc_guard.Finding]:
        taken = list(grpc_guard.findings())
        grpc_guard.clear_findings()
        return taken

    grpc_guard.clear_findings()
    yield take
    assert [finding.message for finding in take() if not is_earlier(finding)] == []


@pytest.fixture
def reported() -> Iterator[queue.Queue[grpc_guard.Finding]]:
    """Yield a queue into which each finding goes as it occurs.

    In mode serialize it tells that a caller stands in line: its place comes before its report.
    """
    occurred: queue.Queue[grpc_guard.Finding] = queue.Queue()
    ledger.add_sink(occurred.put)
    yield occurred
    ledger.remove_sink(occurred.put)


@pytest.fixture(params=["raise", "serialize"])
def in_each_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What refuses or reports the use of one party does so where others have to wait for it, too."""
    monkeypatch.setattr(staging, "usual", [request.param])
