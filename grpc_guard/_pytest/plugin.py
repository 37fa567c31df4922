"""The hooks of the pytest plugin, and its fixture; grpc_guard.pytest_plugin hands them on."""

from __future__ import annotations

import copy
import os
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from .._catalogue.misspelt import report_misspelt
from .._catalogue.modes import Mode
from .._catalogue.thresholds import holding
from .._core import which
from .._reports.baseline import AdoptionError
from .attempt import TestGuard
from .dumps import Dumps
from .marker import of_marker
from .probing import Probing
from .session import Session
from .settings import SEED, Settings, add_options, keep_paths, refuse_misspelt
from .showing import WIDTH, colour, width_of, write_summary
from .summary import summary_lines, workflow_commands

_SESSION: pytest.StashKey[Session] = pytest.StashKey()
_DUMPS: pytest.StashKey[Dumps] = pytest.StashKey()
_BASELINE: pytest.StashKey[list[str]] = pytest.StashKey()  # what happened to it


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    if keep_paths(args):  # early enough for the conftest files of those paths
        parsed = parser.parse_known_args(args, copy.copy(early_config.option))
        early_config.known_args_namespace.file_or_dir = parsed.file_or_dir
    _, unknown = parser.parse_known_and_unknown_args(args, copy.copy(early_config.option))
    refuse_misspelt(unknown)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        'grpc_guard(mode="raise", thresholds={}): guard the gRPC streams of this test in this '
        'mode, or not at all with mode="off"; thresholds as in {"stream_limit": 50}',
    )
    if not hasattr(config, "workerinput"):  # else the controller of pytest-xdist reports it
        report_misspelt()
    settings = Settings.of(config)
    try:
        dumps = Dumps.of(config)
        dumps.begin(is_on=settings.is_on)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    session = Session(settings, Probing(config, settings.probe))
    config.stash[_SESSION], config.stash[_DUMPS] = session, dumps
    config.pluginmanager.register(session.completeness)
    if not hasattr(config, "workerinput"):
        session.completeness.asked_for(config)
    session.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash.get(_SESSION, None)
    if session is not None:
        session.end()
        config.stash[_DUMPS].end()


def pytest_report_header(config: pytest.Config) -> list[str]:
    session = config.stash[_SESSION]
    settings, said = session.settings, session.probing.header()
    if settings.source:
        said.insert(0, f"{settings.mode} (from {settings.source})")
    if settings.is_on:
        said += [f"{name}={value}" for name, value in settings.thresholds.items()]
    core = [f"grpc_guard core: {which.described()}"] if settings.is_on else []
    return [f"grpc_guard: {', '.join(said)}", *core] if said else []


@pytest.fixture
def grpc_guard(request: pytest.FixtureRequest) -> Iterator[TestGuard]:
    """The guard of gRPC streams, switched on for this test.

    In the mode of the marker or of the session, or ``raise``. ``grpc_guard.findings``,
    ``.allow(rule, site, reason=...)`` and ``.clear()`` concern only this test.
    """
    session = request.config.stash[_SESSION]
    if of_marker(request.node)[0] is not None or session.settings.is_on:
        yield session.guard()
    else:
        session.watch()
        with session.guarding(Mode.RAISE):
            yield session.guard()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    session = item.config.stash[_SESSION]
    try:
        mode, told = of_marker(item)
    except ValueError:
        mode, told = None, {}  # the setup of the test fails
    session.begin_test(item, mode)
    item.config.stash[_DUMPS].begin_test(item)
    with holding(told):
        try:
            if mode is None:
                return (yield)
            with session.guarding(mode):
                return (yield)
        finally:
            item.config.stash[_DUMPS].end_test()
            session.end_test()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> None:
    """Learn when pytest-timeout will end the test; it sets its timer itself."""
    item.config.stash[_DUMPS].before_end(item, settings.timeout)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> None:
    item.config.stash[_DUMPS].end_test()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    try:
        mode, _ = of_marker(item)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    item.config.stash[_SESSION].begin_test(item, mode)  # again: a rerun is a new attempt


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    with request.config.stash[_SESSION].setting_up(fixturedef):
        return (yield)


def pytest_fixture_post_finalizer(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> None:
    request.config.stash[_SESSION].torn_down(fixturedef)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _judged(item, "call"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    try:
        return (yield from _judged(item, "teardown"))
    finally:
        item.config.stash[_SESSION].has_judged()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    made = yield
    colour(item, made)
    return made


def _judged(item: pytest.Item, phase: str) -> Generator[None, object, object]:
    session = item.config.stash[_SESSION]
    try:
        result = yield
    except BaseException as error:
        session.judge(item, phase, error)
        raise
    session.judge(item, phase, _kept_failure(item))
    return result


def _kept_failure(item: pytest.Item) -> BaseException | None:
    """Return the exception of a unittest.TestCase, which pytest keeps for the report."""
    kept = getattr(item, "_excinfo", None)
    return kept[0].value if kept else None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    guard = session.config.stash[_SESSION]
    guard.completeness.ended(exitstatus)
    if guard.unattributed() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["grpc_guard"] = guard.to_controller()
    else:
        guard.probing.save(guard.run.pairs)
        session.config.stash[_BASELINE] = _write_baseline(session, guard)


def _write_baseline(session: pytest.Session, guard: Session) -> list[str]:
    try:
        return guard.write_baseline()
    except OSError as error:
        said = f"baseline not written to {error.filename}: {error.strerror}"
    except AdoptionError as error:  # it became invalid while the tests ran
        said = f"baseline not written: {error}"
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return [said]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the seed of the session, and the width of its terminal."""
    node.workerinput[WIDTH] = width_of(node.config)
    probe = node.config.stash[_SESSION].settings.probe
    if probe is not None:
        node.workerinput[SEED] = probe.seed


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of pytest-xdist found."""
    told = getattr(node, "workeroutput", {}).get("grpc_guard")
    session = node.config.stash[_SESSION]
    if told is None:
        session.completeness.miss("a worker crashed")
    else:
        session.from_worker(told)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash[_SESSION]
    lines = [*summary_lines(session), *config.stash.get(_BASELINE, [])]
    if lines:
        terminalreporter.section("grpc_guard")
        write_summary(lines, config.get_terminal_writer(), config)
    if os.environ.get("GITHUB_ACTIONS"):
        for line in workflow_commands(session):
            terminalreporter.line(line)
