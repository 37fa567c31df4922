"""The pytest plugin: a test that breaks the contract fails, and nothing else changes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from inside import core_which, plugin
from support.sessions import ALONE, PROGRAMS, environment, lines_of
from support.staging import PATIENCE

import grpc_guard
from grpc_guard import Finding, pytest_plugin

pytest_plugins = ["pytester"]


@pytest.fixture
def inner(pytester: pytest.Pytester, found: Callable[[], list[Finding]]) -> Any:
    """Return a function that runs a session in this process, and forgets what it found."""

    def run(*arguments: str) -> pytest.RunResult:
        result = pytester.runpytest_inprocess(*ALONE, *arguments)
        found()
        assert not grpc_guard.is_enabled()
        return result

    return run


# What becomes of a test

TESTS = '''
import asyncio
import threading
import unittest

import pytest
from collision import collide
from sync_races import client_readers, server_readers, serving

from grpc_guard import ConcurrencyError, findings


def race():
    """Collide; nobody looks at the exception of the second reader."""
    asyncio.run(collide())


def test_legal():
    with serving() as (service, channel):
        echo = channel.stream_stream("/x/Echo")
        assert list(echo(iter([b"a", b"b"]))) == [b"a", b"b"]


def test_swallowed():
    race()


def test_in_another_thread():
    thread = threading.Thread(target=race)
    thread.start()
    thread.join()


def test_in_the_servers_thread():
    with serving() as (service, channel):
        assert server_readers(service, channel)[1] == 1


def test_asserted_before():
    with serving() as (service, channel):
        assert client_readers(service, channel)[1] == 2
        race()


def test_fails_anyway():
    race()
    assert [] == ["its own"]


def test_raises_it():
    race()
    raise ConcurrencyError(findings()[-1])


def test_skips_after_it():
    race()
    pytest.skip("enough")


@pytest.mark.xfail
def test_is_expected_to_fail():
    race()


@pytest.fixture
def early():
    race()


def test_in_setup(early):
    pass


@pytest.fixture
def late():
    yield
    race()


def test_in_teardown(late):
    pass


@pytest.fixture
def broken(late):
    yield
    raise OSError("a broken teardown")


def test_in_a_broken_teardown(broken):
    pass


class TestOfUnittest(unittest.TestCase):
    def test_legal(self):
        pass

    def test_swallowed(self):
        race()

    def test_fails_anyway(self):
        race()
        self.assertEqual([], ["its own"])

    def test_skips_after_it(self):
        race()
        self.skipTest("enough")

    @unittest.expectedFailure
    def test_is_expected_to_fail(self):
        race()
        self.fail("as expected")


class TestSetUpOfUnittest(unittest.TestCase):
    def setUp(self):
        race()

    def test_in_setup(self):
        pass


class TestOfUnittestAndAsyncio(unittest.IsolatedAsyncioTestCase):
    async def test_swallowed(self):
        await collide()


@pytest.mark.asyncio
async def test_of_pytest_asyncio():
    await collide()


@pytest.mark.anyio
async def test_of_anyio():
    await collide()


@pytest.fixture
def anyio_backend():
    return "asyncio"
'''


class Outcome(NamedTuple):
    """What the JUnit file says of a test."""

    kind: str
    message: str
    text: str
    properties: list[str]


class Inner(NamedTuple):
    """An inner session that has run."""

    status: int
    stdout: str
    outcomes: dict[str, Outcome]


def outcomes_in(file: Path) -> dict[str, Outcome]:
    outcomes = {}
    for case in ElementTree.parse(file).iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
        # A skipped test that fails at teardown has both; the failure is what counts.
        bad.sort(key=lambda child: child.tag == "skipped")
        properties = [str(each.get("value")) for each in case.iter("property")]
        captured = "".join(each.text or "" for each in case.iter("system-out"))
        name = f"{case.get('classname')}.{case.get('name')}".removeprefix("test_all.")
        outcomes[name] = Outcome(
            bad[0].tag if bad else "passed",
            str(bad[0].get("message")) if bad else "",
            "".join(child.text or "" for child in bad) + captured,
            properties,
        )
    return outcomes


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(["-p", "no:randomly"], id="plain"),
        pytest.param(["-p", "no:randomly", "-n2"], id="xdist"),
        pytest.param([], id="randomly"),
    ],
)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Inner:
    """Run all of TESTS under the guard, with one of the plugins that change how tests run."""
    folder = tmp_path_factory.mktemp("inner")
    (folder / "test_all.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function")
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "--grpc-guard", "--junitxml=j.xml", *request.param],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert process.stderr == ""
    return Inner(process.returncode, process.stdout, outcomes_in(folder / "j.xml"))


FINDING = "1 finding of grpc_guard concurrent-read: read by task 'reader-2' on "
BY_GUARD = ("failure", f"Failed: {FINDING}")
AT_TEARDOWN = ("error", f'failed on teardown with "Failed: {FINDING}')

EXPECTED = {
    "test_legal": ("passed", ""),
    "test_swallowed": BY_GUARD,
    "test_in_another_thread": BY_GUARD,
    "test_in_the_servers_thread": (
        "failure",
        "Failed: 1 finding of grpc_guard concurrent-read: next by thread ",
    ),
    "test_asserted_before": ("failure", "Failed: 2 findings of grpc_guard concurrent-read: "),
    "test_fails_anyway": ("failure", "AssertionError: assert [] == ['its own']"),
    "test_raises_it": (
        "failure",
        "grpc_guard.ConcurrencyError: concurrent-read: ",
    ),
    "test_skips_after_it": AT_TEARDOWN,
    "test_is_expected_to_fail": ("skipped", ""),
    "test_in_setup": BY_GUARD,
    "test_in_teardown": AT_TEARDOWN,
    "test_in_a_broken_teardown": ("error", 'failed on teardown with "OSError: a broken teardown"'),
    "TestOfUnittest.test_legal": ("passed", ""),
    "TestOfUnittest.test_swallowed": BY_GUARD,
    "TestOfUnittest.test_fails_anyway": ("failure", "AssertionError: Lists differ: [] != "),
    "TestOfUnittest.test_skips_after_it": AT_TEARDOWN,
    "TestOfUnittest.test_is_expected_to_fail": ("skipped", ""),
    "TestSetUpOfUnittest.test_in_setup": BY_GUARD,
    "TestOfUnittestAndAsyncio.test_swallowed": BY_GUARD,
    "test_of_pytest_asyncio": BY_GUARD,
    "test_of_anyio": BY_GUARD,
}
LEGAL = [name for name, (kind, _) in EXPECTED.items() if kind == "passed"]


@pytest.mark.parametrize("name", EXPECTED)
def test_outcome(name: str, session: Inner) -> None:
    """A test with a finding fails, wherever it occurred; one that fails anyway shows it too."""
    kind, message = EXPECTED[name]
    outcome = session.outcomes[name]
    assert outcome.kind == kind, outcome
    assert outcome.message.replace("\n", " ").startswith(message)
    findings = 0 if name in LEGAL else 2 if name == "test_asserted_before" else 1
    assert len(outcome.properties) == findings
    if findings and kind != "skipped":
        # For a test that fails by itself, the JUnit file has only its own exception.
        text = outcome.text if FINDING in message else session.stdout
        assert text.count(outcome.properties[0]) >= 1  # the first line of the report
        assert "how to fix it: " in text


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("test_fails_anyway", " grpc_guard call "),
        ("TestOfUnittest.test_fails_anyway", " grpc_guard call "),
        ("test_in_a_broken_teardown", " grpc_guard teardown "),
    ],
)
def test_section_of_a_failing_test(name: str, section: str, session: Inner) -> None:
    """Below a test's own exception, a section tells of the findings."""
    failure = re.split(rf"\n__+ (?:ERROR at teardown of )?{name} __+\n", session.stdout)[1]
    failure = re.split(r"\n(?:__|==)", failure)[0]
    own, _, told = failure.partition(section)
    assert "Error" in own
    assert told.strip("-\n").startswith("concurrent-read: read by task 'reader-2' on ")


def test_outcomes_of_all(session: Inner) -> None:
    """No test is missing from the table, and the session has failed."""
    assert set(session.outcomes) == set(EXPECTED)
    assert session.status == pytest.ExitCode.TESTS_FAILED


def test_summary_of_all(session: Inner) -> None:
    """The summary counts what was guarded, by rule and call site, with and without workers."""
    section = session.stdout.partition(" grpc_guard ==")[2].partition("\n==")[0]
    _, head, rule, *places = section.splitlines()
    assert re.fullmatch(
        r"grpc_guard: [1-9]\d+ streams and [1-9]\d+ operations guarded, 20 findings", head
    )
    assert rule == "  concurrent-read (error)"
    sites = sorted((place.split()[0].rpartition("/")[2], place.split()[-1]) for place in places)
    assert sites == [
        ("collision.py:28", "x18"),
        ("sync_races.py:20", "x1"),  # a client's readers
        ("sync_races.py:20", "x1"),  # a server's
    ]


def test_each_finding_carries_the_id_of_its_test(session: Inner) -> None:
    """The report of a finding names the test in which it occurred."""
    assert "FAILED test_all.py::test_swallowed - Failed: 1 finding" in session.stdout


# Settings


LEGAL_TEST = "def test_legal(): pass"
COLLIDING = """
import asyncio
from collision import collide

def test_race():
    asyncio.run(collide())
"""


def header_of(result: pytest.RunResult) -> str | None:
    lines = [line for line in result.outlines if line.startswith("grpc_guard: ")]
    return lines[0] if lines else None


@pytest.mark.parametrize(
    ("arguments", "ini", "environment", "header"),
    [
        ([], "", "", None),
        (["--grpc-guard"], "", "", "raise (from --grpc-guard)"),
        (["--grpc-guard=warn"], "raise", "off", "warn (from --grpc-guard)"),
        (["--grpc-guard", "serialize"], "raise", "off", "serialize (from --grpc-guard)"),
        (["--grpc-guard=off"], "raise", "warn", "off (from --grpc-guard)"),
        ([], "serialize", "warn", "serialize (from ini option grpc_guard)"),
        ([], "off", "warn", "off (from ini option grpc_guard)"),
        ([], "", "warn", "warn (from GRPC_GUARD)"),
        ([], "", "off", "off (from GRPC_GUARD)"),
    ],
)
def test_precedence(
    arguments: list[str],
    ini: str,
    environment: str,
    header: str | None,
    pytester: pytest.Pytester,
    inner: Callable[..., pytest.RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command line overrides the ini file, and that the environment; the header says which."""
    pytester.makeini(f"[pytest]\ngrpc_guard = {ini}")
    monkeypatch.setenv("GRPC_GUARD", environment)
    pytester.makepyfile(
        "import grpc_guard._catalogue.modes as p\ndef test_mode(): print(p.current_mode())"
    )
    result = inner("-s", *arguments)
    mode = header.partition(" ")[0] if header else "off"
    expected = f"grpc_guard: {header}" if header else None
    head = [line for line in result.outlines if line.startswith("grpc_guard: ") and "from" in line]
    assert head == ([expected] if expected else [])
    result.stdout.fnmatch_lines([f"test_precedence.py {mode}", "*1 passed*"])


@pytest.mark.parametrize(
    ("arguments", "ini", "environment", "source"),
    [
        (["--grpc-guard=on"], "", "", "--grpc-guard: 'on'"),
        (["--grpc-guard="], "", "", "--grpc-guard: ''"),
        ([], "grpc_guard = on", "", "ini option grpc_guard: 'on'"),
        ([], "", "on", "GRPC_GUARD: 'on'"),
    ],
)
def test_bad_mode(
    arguments: list[str],
    ini: str,
    environment: str,
    source: str,
    pytester: pytest.Pytester,
    inner: Callable[..., pytest.RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bad mode is a usage error that names its source and the choices."""
    pytester.makeini(f"[pytest]\n{ini}")
    monkeypatch.setenv("GRPC_GUARD", environment)
    result = inner(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    expected = f"ERROR: {source} is not a mode; use off, raise, warn or serialize"
    assert expected in result.errlines


def test_bad_core(
    pytester: pytest.Pytester,
    inner: Callable[..., pytest.RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So is an unknown core, if the guard is on."""
    pytester.makepyfile("def test_nothing(): pass")
    monkeypatch.setattr(core_which, "compiled", core_which._choose)
    monkeypatch.setenv("GRPC_GUARD_PURE", "yes")
    assert inner().ret == pytest.ExitCode.OK
    result = inner("--grpc-guard")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: GRPC_GUARD_PURE: 'yes' is not a choice; use 0 (")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (
            "--grpc-guard-treshold=kept=1",
            "ERROR: unknown option --grpc-guard-treshold; did you mean --grpc-guard-threshold?",
        ),
        ("--grpc-guard-xyzzy", "unrecognized arguments: --grpc-guard-xyzzy"),
    ],
)
def test_a_misspelt_option(
    argument: str, said: str, inner: Callable[..., pytest.RunResult]
) -> None:
    """It is a usage error that says which was meant; pytest refuses what is near none."""
    result = inner(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(said in line for line in result.errlines)


def test_path_after_the_option(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """What follows --grpc-guard is a path unless it is a mode; its conftest is loaded in time."""
    folder = pytester.mkpydir("checks")
    (folder / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--own', action='store_true')"
    )
    (folder / "test_it.py").write_text("def test_it(request): assert request.config.option.own")
    pytester.makepyfile(test_other="def test_other(): assert False")
    for mode in ([], ["warn"]):
        result = inner("--grpc-guard", *mode, "checks", "--own")
        result.assert_outcomes(passed=1)
        assert header_of(result) == f"grpc_guard: {(mode or ['raise'])[0]} (from --grpc-guard)"


def test_option_before_another(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """--grpc-guard before another option, or at the end, is the mode raise."""
    pytester.makepyfile(LEGAL_TEST)
    for arguments in (["--grpc-guard", "-v"], ["-v", "--grpc-guard"]):
        assert header_of(inner(*arguments)) == "grpc_guard: raise (from --grpc-guard)"


# Switched off

INERT = """
import sys

def test_inert():
    assert not {"grpc", "wrapt", "grpc_guard._core.stream"} & set(sys.modules)
"""


@pytest.mark.parametrize("arguments", [[], ["-n1"], ["--grpc-guard=off"]], ids=str)
def test_inert_when_off(arguments: list[str], pytester: pytest.Pytester) -> None:
    """Switched off, the plugin does not import grpc, and prints at most that it is off."""
    pytester.makepyfile(INERT)
    result = pytester.runpytest_subprocess(*ALONE, "-p", "no:anyio", *arguments)
    result.assert_outcomes(passed=1)
    said = [line for line in result.outlines if "grpc_guard" in line]
    assert said == (["grpc_guard: off (from --grpc-guard)"] if "=off" in str(arguments) else [])


def test_guarding_by_hand_when_off(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """Switched off, findings of objects that the application wraps itself are its own affair."""
    pytester.makepyfile(
        """
        from grpc_guard import findings, wrap
        from sync_races import client_readers, serving

        def test_it():
            with serving(wrap) as (service, channel):
                assert client_readers(service, channel)[0] == "ConcurrencyError"
            assert findings()
        """
    )
    result = inner()
    result.assert_outcomes(passed=1)
    assert lines_of(result) == []


def test_every_hook_is_handed_on() -> None:
    """What pytest looks for is in the module that the entry point names, and nothing else is."""
    face = {name for name in vars(pytest_plugin) if name.isidentifier() and name[0] != "_"}
    hooks = {name for name in vars(plugin) if name.startswith("pytest_")}
    assert face == {*hooks, "grpc_guard"}
    assert all(getattr(pytest_plugin, name) is getattr(plugin, name) for name in face)


def test_plugin_blocked(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    """With -p no:grpc_guard there are no options and no fixture."""
    pytester.makepyfile("def test_fixture(grpc_guard): pass")
    inner("-p", "no:grpc_guard").assert_outcomes(errors=1)
    result = inner("-p", "no:grpc_guard", "--grpc-guard")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_without_the_terminal(pytester: pytest.Pytester) -> None:
    """With -p no:terminal the session still fails, and the baseline is still written."""
    pytester.makepyfile(COLLIDING)
    plugins = ["-p", "no:terminal", *ALONE]
    assert pytester.runpytest_subprocess("--grpc-guard", *plugins).ret == 1
    result = pytester.runpytest_subprocess(
        "--grpc-guard", "--grpc-guard-write-baseline=known.json", *plugins
    )
    assert result.ret == 0
    assert len(json.loads((pytester.path / "known.json").read_text())["findings"]) == 1


# Marker and fixture


def test_marker_modes(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    """The marker sets the mode of a test, class or module, whatever the mode of the session."""
    pytester.makepyfile(
        """
        import asyncio, grpc_guard, pytest
        from collision import collide
        from grpc_guard._catalogue.modes import current_mode

        @pytest.mark.grpc_guard
        def test_default(): assert current_mode() == "raise"

        @pytest.mark.grpc_guard("warn")
        def test_warn(): assert current_mode() == "warn"

        @pytest.mark.grpc_guard(mode="off")
        def test_off():
            assert not grpc_guard.is_enabled()
            asyncio.run(collide())

        @pytest.mark.grpc_guard(mode="serialize")
        class TestAll:
            def test_of_class(self): assert current_mode() == "serialize"

            @pytest.mark.grpc_guard(mode="warn")
            def test_nearest(self):
                assert current_mode() == "warn"
                asyncio.run(collide())
        """
    )
    for arguments in ([], ["--grpc-guard=serialize"]):
        result = inner(*arguments)
        result.assert_outcomes(passed=4, failed=1)
        result.stdout.fnmatch_lines(["FAILED *::TestAll::test_nearest - Failed: 1 finding*"])
        assert lines_of(result)[1] == "  concurrent-read (error)"


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("'on'", "marker grpc_guard: 'on' is not a mode; use off, raise, warn or serialize"),
        ("mode=None", "marker grpc_guard: None is not a mode; use off, raise, warn or serialize"),
        ("mod='off'", "marker grpc_guard takes a mode, thresholds and nothing else"),
        ("'off', 'warn'", "marker grpc_guard takes a mode, thresholds and nothing else"),
        ("'off', mode='warn'", "marker grpc_guard takes a mode, thresholds and nothing else"),
    ],
)
def test_bad_marker(
    marker: str, said: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A test whose marker says no mode fails before it runs; the choices are named."""
    pytester.makepyfile(
        f"import pytest\n@pytest.mark.grpc_guard({marker})\ndef test_it(): print('ran')"
    )
    result = inner("-s", "-rE")
    result.assert_outcomes(errors=1)
    assert f"ERROR test_bad_marker.py::test_it - Failed: {said}"[:70] in result.stdout.str()
    assert said in result.outlines
    assert "ran" not in result.outlines


def test_bad_marker_in_a_worker(pytester: pytest.Pytester) -> None:
    """Under pytest-xdist a bad marker is told in the same way."""
    pytester.makepyfile("import pytest\n@pytest.mark.grpc_guard('on')\ndef test_it(): pass")
    result = pytester.runpytest_subprocess(*ALONE, "-n1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["marker grpc_guard: 'on' is not a mode; use off, raise, *"])


def test_marker_is_registered(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """--strict-markers knows the marker, and --markers describes it."""
    pytester.makepyfile("import pytest\n@pytest.mark.grpc_guard\ndef test_it(): pass")
    inner("--strict-markers").assert_outcomes(passed=1)
    inner("--markers").stdout.fnmatch_lines(
        ['@pytest.mark.grpc_guard(mode="raise", thresholds={}): guard *']
    )


FIXTURE = """
import asyncio
import grpc_guard as package
import pytest
from collision import collide
from grpc_guard._catalogue.modes import current_mode

def race():
    asyncio.run(collide())

def test_switches_on(grpc_guard):
    assert current_mode() == "{mode}"
    assert grpc_guard.findings == ()
    race()
    (finding,) = grpc_guard.findings
    assert (finding.rule, finding.test) == (
        "concurrent-read", "test_fixture.py::test_switches_on")

def test_is_off_again():
    assert package.is_enabled() is {on}

def test_clear(grpc_guard):
    race()
    grpc_guard.clear()
    assert grpc_guard.findings == ()

def test_clear_and_again(grpc_guard):
    race()
    grpc_guard.clear()
    race()

def test_allow_before(grpc_guard):
    grpc_guard.allow("concurrent-read", "*/collision.py:read", reason="on purpose")
    race()
    race()
    assert len(grpc_guard.findings) == 1

def test_allow_all_after(grpc_guard):
    race()
    grpc_guard.allow("*", reason="whatever it is")

def test_allow_another(grpc_guard):
    grpc_guard.allow("concurrent-write", reason="on purpose")
    grpc_guard.allow("*", "elsewhere.py", reason="on purpose")
    race()

def test_allowed_in_the_test_before(grpc_guard):
    race()

@pytest.mark.grpc_guard("serialize")
def test_mode_of_the_marker(grpc_guard):
    assert current_mode() == "serialize"

@pytest.mark.grpc_guard("off")
def test_off_by_the_marker(grpc_guard):
    assert not package.is_enabled()
    race()

def test_mistakes(grpc_guard):
    with pytest.raises(ValueError, match="^'race' is not a rule; use abandoned-handler, .* or \\\\*$"):
        grpc_guard.allow("race", reason="on purpose")
    with pytest.raises(ValueError, match="Did you mean 'wrong-loop'"):
        grpc_guard.allow("wrong-lop", reason="on purpose")
    with pytest.raises(ValueError, match="a reason is needed"):
        grpc_guard.allow("*", reason=" ")
"""


@pytest.mark.parametrize("mode", ["off", "warn"])
@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["", "xdist"])
def test_fixture(mode: str, workers: list[str], pytester: pytest.Pytester) -> None:
    """The fixture switches the guard on for its test, and tells, allows and clears findings."""
    pytester.makepyfile(FIXTURE.format(mode="raise" if mode == "off" else mode, on=mode != "off"))
    result = pytester.runpytest_subprocess(f"--grpc-guard={mode}", *ALONE, "-rf", *workers)
    failed = [line.split()[1] for line in result.outlines if line.startswith("FAILED")]
    assert failed == [
        f"test_fixture.py::test_{name}"
        for name in (
            "switches_on",
            "clear_and_again",
            "allow_another",
            "allowed_in_the_test_before",
        )
    ]
    result.assert_outcomes(passed=7, failed=4)
    lines = lines_of(result)
    assert lines[0].endswith(" guarded, 4 findings")
    assert lines[-2:] == [
        "allowed by a test, 2x: concurrent-read at */collision.py:read (on purpose)",
        "allowed by a test, 1x: * at * (whatever it is)",
    ]


def test_fixture_is_of_the_test(pytester: pytest.Pytester) -> None:
    """Where the session is off, only findings of tests that use the fixture are in the summary."""
    pytester.makepyfile(
        """
        from grpc_guard import wrap
        from sync_races import client_readers, serving

        def test_by_hand():
            with serving(wrap) as (service, channel):
                client_readers(service, channel)

        def test_legal(grpc_guard):
            pass
        """
    )
    result = pytester.runpytest_subprocess(*ALONE)
    result.assert_outcomes(passed=2)
    assert [line.rpartition(", ")[2] for line in lines_of(result)] == ["0 findings"]


# Baseline and allow-list


SITE = f"{(PROGRAMS / 'collision.py').as_posix()}:read"
READ = f"concurrent-read on /test.Program/Numbers (client): {SITE} against {SITE}"


def test_baseline(pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]) -> None:
    """Known findings do not fail, new ones do, and fixed ones are reported as removable."""
    pytester.makepyfile(COLLIDING)
    result = inner("--grpc-guard", "--grpc-guard-write-baseline=known.json")
    result.assert_outcomes(passed=1)
    assert lines_of(result)[-2:] == ["baseline written to known.json: 1 entry", f"  added: {READ}"]

    result = inner("--grpc-guard", "--grpc-guard-baseline=known.json")
    result.assert_outcomes(passed=1)
    head, *rest = lines_of(result)
    assert head.endswith(", 0 findings")
    assert rest == ["known from the baseline: 1"]

    pytester.makepyfile(
        test_new="from sync_races import *\n"
        "def test_new():\n with serving() as both: client_readers(*both)"
    )
    result = inner("--grpc-guard", "--grpc-guard-baseline=known.json")
    result.assert_outcomes(passed=1, failed=1)
    assert lines_of(result)[-1] == "known from the baseline: 1"

    pytester.makepyfile(test_baseline=LEGAL_TEST, test_new=LEGAL_TEST)
    result = inner("--grpc-guard", "--grpc-guard-baseline=known.json")
    result.assert_outcomes(passed=2)
    assert lines_of(result)[-1] == f"known but not found, removable from the baseline: {READ}"


@pytest.mark.parametrize(
    ("options", "test", "why"),
    [
        (["-k", "one"], "", "tests were deselected"),
        (["--lf"], "", "with --lf not all tests run"),
        (["test_one.py"], "", "not all tests were asked for"),
        ([], "import pytest\npytest.importorskip('nonsense')", "tests were skipped"),
        ([], "import unittest\nraise unittest.SkipTest", "tests were skipped"),
        ([], "import pytest\n@pytest.mark.skip\ndef test_two(): pass", "tests were skipped"),
        ([], "def test_two(): raise ValueError", "the tests did not all pass"),
        (["-n1", "-k", "one"], "", "tests were deselected"),
        (["-n1"], "import os\ndef test_two(): os._exit(1)", "a worker crashed"),
        ([], "import pytest\n@pytest.mark.xfail\ndef test_two(): assert 0", None),
        (["."], "", None),
        (["-n1"], "", None),
        (["-o", "testpaths=test_one.py test_two.py", "test_one.py", "test_two.py"], "", None),
        (["-o", "testpaths=test_*.py"], "", None),
    ],
)
def test_baseline_where_not_all_tests_ran(
    options: list[str], test: str, why: str | None, pytester: pytest.Pytester
) -> None:
    """Only where all tests ran an entry is removable, and removed where the baseline is written."""
    pytester.makeini("[pytest]")
    pytester.makepyfile(test_one=LEGAL_TEST, test_two=test or LEGAL_TEST)
    known = {"rule": "concurrent-read", "rpc": "/q", "side": "client", "sites": ["a.py:f"]}
    content = json.dumps({"schema": "grpc-guard-baseline/1", "findings": [known]})
    file = pytester.path / "known.json"
    file.write_text(content)
    said = "concurrent-read on /q (client): a.py:f"

    arguments = [*options, *ALONE, "-p", "xdist"]
    result = pytester.runpytest_subprocess("--grpc-guard-baseline=known.json", *arguments)
    assert lines_of(result)[-1] == (
        f"not found: 1 entry; whether they can be removed is not known: {why}"
        if why
        else f"known but not found, removable from the baseline: {said}"
    )
    result = pytester.runpytest_subprocess("--grpc-guard-write-baseline=known.json", *arguments)
    assert lines_of(result)[-1] == (
        "baseline written to known.json: 1 entry"
        if why
        else f"  removed, as it was not found: {said}"
    )
    assert len(json.loads(file.read_text())["findings"]) == (1 if why else 0)


@pytest.mark.parametrize(
    "option",
    [
        "--grpc-guard-baseline=known.json",
        "--grpc-guard-write-baseline=new.json",
        "--grpc-guard-probe",
        "--grpc-guard-threshold=kept=8",
        "--grpc-guard-probe-seed=3",
    ],
)
def test_option_that_needs_the_guard(
    option: str,
    pytester: pytest.Pytester,
    inner: Callable[..., pytest.RunResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It switches the guard on if no mode is set, and is an error if the guard is off."""
    pytester.makepyfile(LEGAL_TEST)
    (pytester.path / "known.json").write_text('{"schema": "grpc-guard-baseline/1", "findings": []}')
    name = option.partition("=")[0]
    more = ["--grpc-guard-probe"] if name.endswith("seed") else []
    result = inner(option, *more)
    result.assert_outcomes(passed=1)
    named = more[0] if more else name
    result.stdout.fnmatch_lines([f"grpc_guard: raise (from {named})*"])
    (pytester.path / "new.json").unlink(missing_ok=True)
    result = inner("--grpc-guard=off", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = f"ERROR: {name} needs the guard, which {{}} has switched off"
    assert said.format("--grpc-guard") in result.stderr.str()
    monkeypatch.setenv("GRPC_GUARD", "off")
    assert said.format("GRPC_GUARD") in inner(option).stderr.str()
    assert not (pytester.path / "new.json").exists()


def test_baseline_that_is_broken_on_the_way(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A file that was not written by the guard is not overwritten."""
    pytester.makepyfile("def test_it(): open('known.json', 'w').write('{}')")
    result = inner("--grpc-guard-write-baseline=known.json")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert lines_of(result)[-1] == (
        "baseline not written: --grpc-guard-write-baseline: known.json: "
        "not a baseline file ('schema')"
    )
    assert (pytester.path / "known.json").read_text() == "{}"


def test_baseline_of_workers(pytester: pytest.Pytester) -> None:
    """Under pytest-xdist one baseline is written, of all that the workers found."""
    pytester.makepyfile(test_one=COLLIDING, test_two=COLLIDING.replace("test_race", "test_more"))
    result = pytester.runpytest_subprocess(
        "--grpc-guard", "--grpc-guard-write-baseline=known.json", "-n2", *ALONE
    )
    result.assert_outcomes(passed=2)
    assert lines_of(result)[-2:] == ["baseline written to known.json: 1 entry", f"  added: {READ}"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (
            "--grpc-guard-baseline=nowhere",
            "--grpc-guard-baseline: nowhere: No such file or directory",
        ),
        (
            "--grpc-guard-baseline=test_it.py",
            "--grpc-guard-baseline: test_it.py: not a baseline file (",
        ),
        (
            "--grpc-guard-write-baseline=test_it.py",
            "--grpc-guard-write-baseline: test_it.py: not a baseline file (",
        ),
        (
            "--grpc-guard-write-baseline=nowhere/b",
            "--grpc-guard-write-baseline: nowhere/b: No such file or directory",
        ),
    ],
)
def test_bad_baseline(
    option: str, said: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A baseline that cannot be read or written is a usage error at start."""
    pytester.makepyfile(test_it=LEGAL_TEST)
    result = inner(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {said}" in result.stderr.str()


def test_baseline_that_cannot_be_written_at_the_end(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A baseline whose folder the tests remove fails the session, and is said."""
    pytester.mkdir("folder")
    pytester.makepyfile("import os\ndef test_it(): os.rmdir('folder')")
    result = inner("--grpc-guard-write-baseline=folder/b")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1)
    assert lines_of(result)[1:] == ["baseline not written to folder/b: No such file or directory"]


@pytest.mark.parametrize("where", ["ini", "pyproject"])
def test_allow_list(
    where: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """Allowed findings do not fail and are counted; entries that found nothing are reported."""
    pytester.makepyfile(COLLIDING)
    if where == "ini":
        pytester.makeini(
            "[pytest]\ngrpc_guard = raise\n"
            "grpc_guard_allow =\n  * */collision.py:read on purpose\n  wrong-loop * for later"
        )
    else:
        entry = "[[tool.grpc_guard.allow]]\nrule = '{}'\nsite = '{}'\nreason = '{}'\n"
        pytester.makepyprojecttoml(
            "[tool.pytest.ini_options]\ngrpc_guard = 'raise'\n"
            + entry.format("*", "*/collision.py:read", "on purpose")
            + entry.format("wrong-loop", "*", "for later")
        )
    result = inner()
    result.assert_outcomes(passed=1)
    assert lines_of(result)[1:] == [
        "allowed, 1x: * at */collision.py:read (on purpose)",
        "allowed but not found, removable from the allow-list: wrong-loop at * (for later)",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("* a.py", "ini option grpc_guard_allow: '* a.py': an entry has a rule, a site and a "),
        ("race a.py why", "ini option grpc_guard_allow: 'race a.py why': 'race' is not a rule; "),
    ],
)
def test_bad_allow_list(
    line: str, said: str, pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A mistake in the allow-list is a usage error that names the line."""
    pytester.makeini(f"[pytest]\ngrpc_guard_allow = {line}")
    result = inner()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {said}" in result.stderr.str()


# Around the tests


def test_rerun_is_a_new_attempt(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A test that pytest-rerunfailures runs again is judged by what happens in that attempt."""
    pytester.makepyfile(
        """
        import asyncio, pytest
        from collision import collide

        attempts = []

        def test_better():
            attempts.append(1)
            if len(attempts) == 1:
                asyncio.run(collide())

        def test_never():
            asyncio.run(collide())
        """
    )
    result = inner("--grpc-guard", "--reruns=1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*1 failed, 1 passed, 2 rerun*"])


def test_clear_in_a_rerun(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A finding that occurs again after clear() is new, in any attempt at a test."""
    pytester.makepyfile(
        """
        import asyncio
        from collision import collide

        attempts = []

        def test_never(grpc_guard):
            attempts.append(1)
            asyncio.run(collide())
            if len(attempts) == 2:
                grpc_guard.clear()
                asyncio.run(collide())
                assert len(grpc_guard.findings) == 1
        """
    )
    result = inner("--grpc-guard", "--reruns=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 finding of grpc_guard"])


@pytest.mark.parametrize("workers", [[], ["-n1"]], ids=["", "xdist"])
def test_finding_outside_of_any_test(workers: list[str], pytester: pytest.Pytester) -> None:
    """A finding for which no test can answer fails the session, and is in the summary."""
    pytester.makeconftest(
        """
        import asyncio, pytest
        from collision import collide

        @pytest.hookimpl(tryfirst=True)
        def pytest_sessionfinish(session):
            if hasattr(session.config, "workerinput") or not session.config.option.numprocesses:
                asyncio.run(collide())
        """
    )
    pytester.makepyfile(LEGAL_TEST)
    result = pytester.runpytest_subprocess("--grpc-guard", *ALONE, *workers)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    lines = lines_of(result)
    assert lines[0].endswith(" guarded, 1 finding")
    assert lines[-1] == "outside of any test: 1 finding"


def test_finding_behind_the_verdict(pytester: pytest.Pytester) -> None:
    """What is found after the teardown of a test, and before its end, fails the session."""
    pytester.makeconftest(
        """
        import asyncio
        from collision import collide

        def pytest_runtest_logreport(report):
            if report.when == "teardown":
                asyncio.run(collide())
        """
    )
    pytester.makepyfile(LEGAL_TEST)
    result = pytester.runpytest_subprocess("--grpc-guard", *ALONE)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert lines_of(result)[-1] == "outside of any test: 1 finding"


def test_worker_that_crashes(pytester: pytest.Pytester) -> None:
    """The findings of a crashed worker are lost; the other findings are reported."""
    pytester.makepyfile(COLLIDING, test_crash="import os\ndef test_crash(): os._exit(1)")
    result = pytester.runpytest_subprocess("--grpc-guard", "-n2", *ALONE)
    result.assert_outcomes(failed=2)
    assert lines_of(result)[0].endswith(" guarded, 1 finding")


def test_annotations(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """On GitHub Actions each new finding is an annotation beside its line."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile(
        COLLIDING,
        **{
            "odd,%": COLLIDING.replace("from collision import collide", "")
            + (PROGRAMS / "collision.py").read_text()
        },
    )
    allow = "grpc_guard_allow=wrong-loop * why"
    result = pytester.runpytest_subprocess(
        "--grpc-guard", *ALONE, "-o", allow, "odd,%.py", "test_annotations.py"
    )
    commands = [line for line in result.outlines if line.startswith("::")]
    said = "concurrent-read: read by task 'reader-2' on /test.Program/Numbers (client, aio) refused"
    source = (pytester.path / "odd,%.py").read_text().splitlines()
    line = source.index("    return await call.read()") + 1
    assert [command.partition(": task")[0] for command in commands] == [
        f"::error file=odd%2C%25.py,line={line},title=grpc_guard concurrent-read::{said}",
        f"::error file={PROGRAMS / 'collision.py'},line=28,title=grpc_guard concurrent-read::{said}",
    ]


def test_annotation_without_a_site(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult], monkeypatch: Any
) -> None:
    """A finding without a line of the program is annotated without a place, or at its owner."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    pytester.makepyfile(
        """
        from grpc_guard import Finding, Owner
        from grpc_guard._findings.records import Frame
        from grpc_guard._findings.ledger import ledger
        from grpc_guard._catalogue.rules.concurrent_read import CONCURRENT_READ

        def record(owner, severity):
            caller = Owner("thread", "t", "next")
            ledger.record(Finding(
                CONCURRENT_READ, severity, "/x", "client", "sync", f"{severity}\\n", "", caller, owner,
                test=ledger.test))

        def test_it():
            record(None, "error")
            site = Frame(__file__, 7, "f", "")
            record(Owner("thread", "u", "next", None, (site,)), "warning")
        """
    )
    result = inner("--grpc-guard")
    result.assert_outcomes(failed=1)
    assert [line for line in result.outlines if line.startswith("::")] == [
        "::error title=grpc_guard concurrent-read::error%0A",
        (
            "::warning file=test_annotation_without_a_site.py,line=7,"
            "title=grpc_guard concurrent-read::warning%0A"
        ),
    ]


def test_warnings_do_not_fail(
    pytester: pytest.Pytester, inner: Callable[..., pytest.RunResult]
) -> None:
    """A finding of severity warning is only in the summary and in a property."""
    pytester.makepyfile(
        """
        from grpc_guard import Finding, Owner
        from grpc_guard._findings.ledger import ledger
        from grpc_guard._catalogue.rules.concurrent_read import CONCURRENT_READ

        def test_it():
            caller = Owner("thread", "t", "next")
            ledger.record(Finding(
                CONCURRENT_READ, "warning", "/x", "client", "sync", "take care", "", caller,
                test=ledger.test))
        """
    )
    result = inner("--grpc-guard", "--junitxml=j.xml")
    result.assert_outcomes(passed=1)
    assert lines_of(result)[1] == "  concurrent-read (warning)"
    (outcome,) = outcomes_in(pytester.path / "j.xml").values()
    assert outcome.properties == ["take care"]


def test_under_run(pytester: pytest.Pytester) -> None:
    """pytest as the program of grpc-guard run is guarded by both, and warns of nothing."""
    pytester.makepyfile(COLLIDING)
    command = [sys.executable, "-m", "grpc_guard", "run", "-m", "pytest", *ALONE]
    result = pytester.run(*command)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1, warnings=0)
    assert "grpc_guard: raise (from GRPC_GUARD)" in result.outlines
    assert result.errlines[-3].endswith(" guarded, 1 finding")
