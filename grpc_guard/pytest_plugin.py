"""pytest plugin: a test that breaks gRPC's concurrency contract fails, whatever else it asserts.

Inert unless switched on by ``--grpc-guard[=MODE]``, the ini option ``grpc_guard``, the
environment variable ``GRPC_GUARD`` (in that precedence), the fixture or the marker. Switched
off it does not import grpc.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from ._modes import Mode, parse_mode
from ._process import guarded
from ._pytest.session import Session, TestGuard
from ._pytest.settings import Settings, add_options, keep_paths
from ._pytest.summary import summary_lines, workflow_commands

_SESSION: pytest.StashKey[Session] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(args: list[str]) -> None:
    keep_paths(args)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        'grpc_guard(mode="raise"): guard the gRPC streams of this test in this mode, or not at '
        'all with mode="off"',
    )
    session = Session(Settings.of(config))
    config.stash[_SESSION] = session
    session.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash.get(_SESSION, None)
    if session is not None:
        session.end()


def pytest_report_header(config: pytest.Config) -> str | None:
    settings = config.stash[_SESSION].settings
    return f"grpc_guard: {settings.mode} (from {settings.source})" if settings.source else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        try:
            _mode_of_marker(item)
        except (TypeError, ValueError) as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None


def _mode_of_marker(item: pytest.Item) -> Mode | None:
    marker = item.get_closest_marker("grpc_guard")
    if marker is None:
        return None

    def mode(mode: str = "raise") -> Mode:
        return parse_mode(mode, source="marker grpc_guard")

    return mode(*marker.args, **marker.kwargs)


@pytest.fixture
def grpc_guard(request: pytest.FixtureRequest) -> Iterator[TestGuard]:
    """The guard of gRPC streams, switched on for this test.

    In the mode of the marker or of the session, or ``raise``. ``grpc_guard.findings``,
    ``.allow(rule, site, reason=...)`` and ``.clear()`` speak of this test alone.
    """
    session = request.config.stash[_SESSION]
    if _mode_of_marker(request.node) is not None or session.settings.is_on:
        yield session.guard()
    else:
        with guarded():
            yield session.guard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    session = item.config.stash[_SESSION]
    mode = _mode_of_marker(item)
    session.begin_test(item)
    try:
        if mode is None:
            return (yield)
        with guarded(mode):
            return (yield)
    finally:
        session.end_test()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    item.config.stash[_SESSION].begin_test(item)  # again: a rerun is a new attempt
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    session = item.config.stash[_SESSION]
    try:
        result = yield
    except pytest.skip.Exception:
        raise  # what was found is told at teardown
    except BaseException:
        session.judge(item, "call", has_failed=True)
        raise
    session.judge(item, "call", has_failed=False)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    item.config.stash[_SESSION].judge(item, "teardown", has_failed=False)
    return result


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    guard = session.config.stash[_SESSION]
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if guard.orphans() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if output is not None:
        output["grpc_guard"] = guard.to_controller()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist found."""
    told = getattr(node, "workeroutput", {}).get("grpc_guard")
    if told is not None:  # the worker did not crash
        node.config.stash[_SESSION].from_worker(told)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash[_SESSION]
    lines = list(summary_lines(session))
    if lines:
        terminalreporter.section("grpc_guard")
        for line in lines:
            terminalreporter.line(line)
    if os.environ.get("GITHUB_ACTIONS"):
        for line in workflow_commands(session):
            terminalreporter.line(line)
