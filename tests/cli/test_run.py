"""``grpc-guard run``: a program under the guard behaves as without it, and its findings are told."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import zipapp
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import FILE_LIMIT, Process, Writer, finding_from_dict, handling, read
from support.staging import PATIENCE, RELEASE

from grpc_guard import Finding, wrap

PROGRAMS = Path(__file__).parents[1] / "programs"
RUN = ["-m", "grpc_guard", "run"]
MINE = {
    "GRPC_GUARD",
    "GRPC_GUARD_INSPECT",
    "GRPC_GUARD_SPOOL",
    "PYTHONPATH",
}  # what the launcher sets

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs without any setting."""
    for name in os.environ:
        if name.startswith(("GRPC_GUARD", "PYTHON")):
            monkeypatch.delenv(name)


def python(*args: object, cwd: Path = PROGRAMS, stdin: str = "") -> Any:
    """Run the interpreter with `args` to the end; return the completed process."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )


def launch(*args: object, cwd: Path = PROGRAMS, stdin: str = "") -> Any:
    """Run ``grpc-guard run`` with `args`."""
    return python(*RUN, *args, cwd=cwd, stdin=stdin)


def found_in(report: Path) -> list[Finding]:
    """Return the findings of a JSON report."""
    return [finding_from_dict(data) for data in json.loads(report.read_text())["findings"]]


def summary_of(process: Any) -> str:
    """Return the line that says what was guarded."""
    lines = [line for line in process.stderr.splitlines() if line.startswith("grpc_guard: ")]
    assert len(lines) == 1, process.stderr
    return str(lines[0])


# What the program sees


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(["identity.py", "a", "--mode", "-m", "--", "b"], id="script"),
        pytest.param(["-m", "identity", "a", "--mode", "-x"], id="module"),
        pytest.param(["{folder}/app", "a"], id="folder"),
        pytest.param(["{folder}/app.pyz", "a"], id="archive"),
        pytest.param(["{folder}/bare", "a"], id="script without a suffix"),
    ],
)
@pytest.mark.parametrize("separator", [["--"], []], ids=["--", ""])
def test_program_sees_no_launcher(program: list[str], separator: list[str], tmp_path: Path) -> None:
    """argv, path, name, file, flags, modules and stdin are those without the launcher."""
    (tmp_path / "app").mkdir()
    shutil.copyfile(PROGRAMS / "identity.py", tmp_path / "app" / "__main__.py")
    zipapp.create_archive(tmp_path / "app")
    shutil.copyfile(PROGRAMS / "identity.py", tmp_path / "bare")
    program = [part.format(folder=tmp_path) for part in program]

    plain = python(*program, stdin="to be read")
    guarded = launch(*separator, *program, stdin="to be read")

    assert (plain.returncode, plain.stderr) == (0, "")
    seen, expected = json.loads(guarded.stdout), json.loads(plain.stdout)
    environ, plain_environ = seen.pop("environ"), expected.pop("environ")
    assert seen == expected
    assert {name: environ[name] for name in set(environ) - MINE} == {
        name: plain_environ[name] for name in set(plain_environ) - MINE
    }
    assert guarded.returncode == 0
    assert guarded.stderr == "grpc_guard: 0 streams and 0 operations guarded, 0 findings\n"


def test_interpreter_flags_are_handed_on() -> None:
    """-X, -W, -O, -B and -u of the interpreter that runs the launcher are the program's."""
    flags = ["-X", "utf8", "-X", "own=1", "-X", "own2", "-W", "error::UserWarning", "-OBu"]
    plain = json.loads(python(*flags, "identity.py").stdout)
    guarded = json.loads(python(*flags, *RUN, "identity.py").stdout)
    for different in ("environ", "orig_argv"):
        del plain[different], guarded[different]
    assert guarded == plain
    assert plain["xoptions"] == {"utf8": True, "own": "1", "own2": True}


@posix
def test_command_runs_as_it_is() -> None:
    """Any command can be run; the Python processes below it are guarded."""
    process = launch(
        "sh",
        "-c",
        'echo "$0 $1" && exec python_ endings.py return'.replace("python_", sys.executable),
        "zero",
        "one",
    )
    assert process.returncode == 66
    assert process.stdout == "zero one\nbytes ConcurrencyError\n"
    assert summary_of(process).endswith("1 finding")


def test_own_sitecustomize_is_still_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own sitecustomize is imported, once, and is what ``import`` gives."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nprint('mine', __spec__.origin)")
    (tmp_path / "program.py").write_text("import sitecustomize\nprint(sitecustomize.__file__)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = launch("program.py", cwd=tmp_path)
    own = tmp_path / "sitecustomize.py"
    # The launcher is a Python process too, and prints what it has to print at its end.
    assert sorted(process.stdout.splitlines()) == sorted([f"mine {own}", f"mine {own}", f"{own}"])


def test_broken_sitecustomize_is_told_as_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the program's own sitecustomize is Python's to tell; the program runs guarded."""
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = launch("endings.py", "return")
    assert process.stderr.count("ValueError: broken") == 2  # in the launcher, and in the program
    assert process.returncode == 66


def test_program_patches_before_it_imports_grpc() -> None:
    """The guard goes on with the program's import of grpc, not before, and leaves no hook."""
    process = launch("patching.py")
    assert process.stdout == "grpc True\nFalse\n[]\n", process.stderr


# How the program ends


@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("return", 66, ""),
        ("exit", 66, ""),
        ("exit 0", 66, ""),
        ("exit 3", 3, ""),
        ("exit text", 1, "text\n"),
        ("raise", 1, "\nValueError: the program's own\n"),
        ("_exit 0", 66, ""),
        ("_exit 5", 5, ""),
        ("blind", 66, ""),
        pytest.param("close", 66, "", marks=posix),
        pytest.param("kill SIGTERM", -15, "", marks=posix),
        pytest.param("kill SIGKILL", -9, "", marks=posix),
    ],
)
def test_status_and_report_however_it_ends(
    ending: str, status: int, said: str, tmp_path: Path
) -> None:
    """The exit status is the program's, 66 in place of 0; the report is complete."""
    report = tmp_path / "report.json"
    process = launch("--report", report, "endings.py", *ending.split())
    assert process.returncode == status, process.stderr
    assert said in process.stderr
    printed = process.stdout
    if RELEASE < (1, 70):  # whose server may print a traceback of its own when it is stopped
        printed = "".join(printed.splitlines(keepends=True)[:1])
    assert printed == ("" if ending == "close" else "bytes ConcurrencyError\n")
    (finding,) = found_in(report)
    assert finding.rule == "concurrent-read"
    assert finding.count == 1
    assert " guarded, 1 finding" in summary_of(process)
    if "kill" in ending:
        name = ending.split()[1]
        assert summary_of(process).endswith("; 1 process not heard at the end")
        assert f" told nothing at its end: {name} ended it, and the totals are" in process.stderr
        text = launch("--report", tmp_path / "report.txt", "endings.py", *ending.split())
        assert text.returncode == status
        said_in_text = (tmp_path / "report.txt").read_text()
        assert f" told nothing at its end: {name} ended it, and the totals are" in said_in_text
    else:
        assert summary_of(process).endswith(" guarded, 1 finding")
        # The client's stream and the server's; what is read to the end, and what is cancelled.
        assert json.loads(report.read_text())["streams"] == 2


@pytest.mark.parametrize(
    ("ending", "streams"),
    [
        pytest.param("fork", 4, marks=posix),
        pytest.param("execute", 3, marks=posix),  # what was not told before execv() is lost
    ],
)
def test_equal_findings_are_one(ending: str, streams: int, tmp_path: Path) -> None:
    """Findings of a forked child and of an executed program are in one report."""
    report = tmp_path / "report.json"
    process = launch("--report", report, "endings.py", ending)
    assert process.returncode == 66, process.stderr
    (finding,) = found_in(report)
    assert finding.count == 2
    assert json.loads(report.read_text())["streams"] == streams


def test_format_that_is_not_that_of_the_suffix(tmp_path: Path) -> None:
    """--format decides, whatever the name of FILE."""
    report = tmp_path / "report.json"
    process = launch("--format", "text", "--report", report, "endings.py", "return")
    assert process.returncode == 66, process.stderr
    assert report.read_text().startswith("concurrent-read: read by task 'reader-2' on ")


def test_several_reports(tmp_path: Path) -> None:
    """Each --report is written, in the format of its own suffix; one for each process where it says so."""
    report, text, of_process = tmp_path / "r.json", tmp_path / "r.txt", tmp_path / "{pid}.sarif"
    options = [part for path in (report, text, of_process) for part in ("--report", path)]
    process = launch(*options, "endings.py", "return")
    assert process.returncode == 66, process.stderr
    assert len(found_in(report)) == 1
    assert text.read_text().startswith("concurrent-read: read by task 'reader-2' on ")
    (sarif,) = tmp_path.glob("*.sarif")
    assert sarif.stem.isdecimal()
    assert len(json.loads(sarif.read_text())["runs"][0]["results"]) == 1


def test_finding_that_comes_again(tmp_path: Path) -> None:
    """A finding that occurs again in the same place is printed once, and counted."""
    report = tmp_path / "report.json"
    process = launch("--report", report, "endings.py", "again")
    (finding,) = found_in(report)
    assert finding.count == 2
    assert process.stderr.count("  how to fix it: ") == 1


def test_findings_while_the_interpreter_shuts_down(tmp_path: Path) -> None:
    """Findings in threads that outlive main, exit handlers and last finalizers are reported."""
    report = tmp_path / "report.json"
    process = launch("--report", report, "shutdown.py")
    assert process.returncode == 66, process.stderr
    findings = found_in(report)
    assert {finding.rule for finding in findings} == {"handler-returned"}
    functions = [finding.caller.site and finding.caller.site.function for finding in findings]
    assert functions == ["in_thread", "in_exit_handler", "__del__"]
    assert summary_of(process) == "grpc_guard: 2 streams and 6 operations guarded, 3 findings"


@pytest.mark.parametrize(("code", "status"), [("7", 7), ("0", 0)])
def test_exit_code(code: str, status: int) -> None:
    """--exit-code is the status of a program that succeeds but broke the contract."""
    assert launch("--exit-code", code, "endings.py", "return").returncode == status


def test_program_without_findings() -> None:
    """A legal program's status stays 0, and the summary says what was guarded."""
    process = launch("sync_legal.py")
    assert (process.returncode, process.stdout) == (0, "6\n")
    assert process.stderr == "grpc_guard: 2 streams and 16 operations guarded, 0 findings\n"


# Children


@pytest.mark.parametrize(
    "how",
    [
        "subprocess",
        "spawn",
        pytest.param("fork", marks=posix),
        pytest.param("forkserver", marks=posix),
    ],
)
def test_children_are_guarded(how: str, tmp_path: Path) -> None:
    """The Python processes that a program makes are guarded as it is."""
    process = launch("--report", tmp_path / "{pid}.json", "children.py", how)
    assert process.returncode == 66, process.stderr
    assert process.stdout == "bytes ConcurrencyError\n"
    reports = {path: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert all(int(path.stem) == report["pid"] for path, report in reports.items())
    guilty = [report for report in reports.values() if report["findings"]]
    assert [report["streams"] for report in guilty] == [2]
    assert len(reports) >= 2


@posix
def test_fork_does_not_count_twice(tmp_path: Path) -> None:
    """What a process did before a fork does not count for its child."""
    report = tmp_path / "report.json"
    process = launch("--report", report, "endings.py", "leave")
    assert process.returncode == 66, process.stderr
    assert [finding.count for finding in found_in(report)] == [1]
    assert json.loads(report.read_text())["streams"] == 2


@posix
def test_a_report_for_each_process(tmp_path: Path) -> None:
    """{pid} in the name of the report makes one for each process, with its own counts."""
    process = launch("--report", tmp_path / "r-{pid}.json", "endings.py", "fork")
    assert process.returncode == 66
    reports = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert [[finding["count"] for finding in report["findings"]] for report in reports] == [
        [1],
        [1],
    ]
    assert [report["streams"] for report in reports] == [2, 2]
    assert len({report["pid"] for report in reports}) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("off", ""),
        ("", ""),
        ("on", "GRPC_GUARD: 'on' is not a mode; use off, raise, warn or serialize\n"),
    ],
)
def test_child_with_a_mode_of_its_own(value: str, said: str) -> None:
    """A program may switch the guard off for a child; a bad mode is said, and the child runs."""
    code = (
        "import os, subprocess, sys\n"
        f"environ = os.environ | {{'GRPC_GUARD': {value!r}}}\n"
        "code = 'import grpc, grpc_guard; print(grpc_guard.is_enabled())'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', code], env=environ).returncode)"
    )
    process = launch(sys.executable, "-c", code)
    assert (process.returncode, process.stdout) == (0, "False\n")
    assert process.stderr.partition("is not guarded: ")[2].partition("grpc_guard:")[0] == said


_INTERRUPTED = """
import signal, sys

def handle(number, frame):
    raise ValueError("time is up")

class Finder:
    def find_spec(self, name, path, target=None):
        if name == "grpc_guard._process.switch":
            signal.raise_signal(signal.SIGALRM)

signal.signal(signal.SIGALRM, handle)
sys.meta_path.insert(0, Finder())
try:
    import grpc
except ValueError as error:
    print(error)
"""


def test_time_limit_while_the_guard_is_switched_on() -> None:
    """What a signal handler raises while grpc is patched comes out of the program's import."""
    process = launch(sys.executable, "-c", _INTERRUPTED)
    assert (process.returncode, process.stdout) == (0, "time is up\n")


def test_somebody_elses_module_called_grpc(tmp_path: Path) -> None:
    """A program with a module of its own called grpc runs as it is, and that is said."""
    (tmp_path / "grpc.py").write_text("print('mine')")
    (tmp_path / "program.py").write_text("import grpc")
    process = launch("program.py", cwd=tmp_path)
    assert (process.returncode, process.stdout) == (0, "mine\n")
    assert " is not guarded: " in process.stderr
    assert "grpc.py" in process.stderr or "grpc.aio" in process.stderr


@pytest.mark.parametrize(
    "command",
    [
        pytest.param([sys.executable, "-S", "-c", "print('plain')"], id="without site"),
        pytest.param(
            ["sh", "-c", "unset GRPC_GUARD_SPOOL; exec python -c 'print(\"plain\")'"],
            id="without the spool",
            marks=posix,
        ),
        pytest.param(
            ["sh", "-c", "PYTHONPATH=$PYTHONPATH:shadow exec python -c 'print(\"plain\")'"],
            id="without grpc_guard",
            marks=posix,
        ),
    ],
)
def test_no_process_could_be_guarded(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that the guard cannot get into stay plain, and that is said."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "grpc_guard.py").write_text("# in the way of ours")
    process = launch(*command, cwd=tmp_path)
    assert (process.returncode, process.stdout) == (0, "plain\n")
    assert process.stderr == (
        "grpc_guard: no Python process of the program was guarded: is it installed there?\n"
    )


# Modes


def test_mode_off() -> None:
    """--mode off runs the program as it is, without a word."""
    process = launch("--mode", "off", sys.executable, "identity.py")
    seen = json.loads(process.stdout)
    assert process.stderr == ""
    assert seen["environ"]["GRPC_GUARD"] == "off"
    assert MINE & set(seen["environ"]) == {"GRPC_GUARD"}


@pytest.mark.parametrize("said", ["argument", "environment"])
def test_mode_warn(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In mode warn the second caller gets through; the finding is told once, and counts."""
    arguments = ["--mode", "warn"]
    if said == "environment":
        monkeypatch.setenv("GRPC_GUARD", "warn")
        arguments = []
    process = launch(*arguments, "endings.py", "return")
    assert process.returncode == 66
    assert "ConcurrencyError" not in process.stdout
    assert process.stderr.count(" let through: task 'reader-1' has been in read for ") == 1


def test_mode_warn_with_logging() -> None:
    """The program's log goes where it always goes, beside the launcher's output."""
    code = (
        "import asyncio, logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='%(name)s %(levelname)s %(message).16s')\n"
        "import collision; asyncio.run(collision.collide())"
    )
    process = launch("--mode", "warn", sys.executable, "-c", code)
    assert process.stdout.startswith("grpc_guard WARNING concurrent-read:\n")
    assert process.stderr.count(" let through: task 'reader-1' has been in read for ") == 1


# Mistakes in the command line


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--mode", "on", "x.py"], 2, "--mode: 'on' is not a mode; use off, raise, warn or serialize"),
        (["--exit-code", "256", "x.py"], 2, "'256' is not an exit status; use 0 to 255"),
        (["--exit-code", "-1", "x.py"], 2, "--exit-code"),
        (["--format", "xml", "x.py"], 2, "'xml' is not a format; use json, sarif or text\n"),
        (["--format", "jsn", "x.py"], 2,
         "'jsn' is not a format; use json, sarif or text. Did you mean 'json'?\n"),
        (["--mode", "rais", "x.py"], 2,
         "--mode: 'rais' is not a mode; use off, raise, warn or serialize. Did you mean 'raise'?"),
        *(
            (["--mode", "off", *option, "x.py"], 2,
             f"{option[0]} needs the guard, which --mode has switched off\n")
            for option in (["--baseline", "b"], ["--write-baseline", "b"], ["--probe"],
                           ["--probe-file", "f"], ["--probe-seed", "3"], ["--threshold", "kept=1"])
        ),
        ([], 2, "no program; use a Python script, -m module, or any command"),
        (["--"], 2, "no program; use a Python script, -m module, or any command"),
        (["-m"], 2, "no program; use a Python script, -m module, or any command"),
        (["nowhere.py"], 127, "nowhere.py: neither a Python script nor a command"),
        (["--report", "nowhere/r.json", "handlers.py"], 2,
         "--report: nowhere/r.json: No such file or directory"),
        (["--report", ".", "handlers.py"], 2, "--report: .: Is a directory"),
        (["--report", os.devnull, "--report", ".", "handlers.py"], 2, "--report: .: Is a directory"),
        (["--write-baseline", "nowhere/b", "handlers.py"], 2,
         "--write-baseline: nowhere/b: No such file or directory"),
        (["--baseline", "nowhere", "handlers.py"], 2,
         "--baseline: nowhere: No such file or directory"),
        (["--baseline", "identity.py", "handlers.py"], 2, "--baseline: identity.py: not a baseline file ("),
    ],
)  # fmt: skip
def test_mistake_is_said_at_start(arguments: list[str], status: int, said: str) -> None:
    """A mistake in the command line is said, and the program is not started."""
    process = launch(*arguments)
    assert process.returncode == status
    assert said in process.stderr
    assert process.stdout == ""


def test_bad_mode_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad GRPC_GUARD is named as the source of the mistake."""
    monkeypatch.setenv("GRPC_GUARD", "on")
    process = launch("identity.py")
    assert process.returncode == 2
    assert process.stderr == (
        "grpc-guard run: GRPC_GUARD: 'on' is not a mode; use off, raise, warn or serialize\n"
    )


@posix
def test_file_that_cannot_be_executed(tmp_path: Path) -> None:
    """An executable file in no format that the system knows is said to be that."""
    program = tmp_path / "program"
    program.write_bytes(b"\0\1\2\3")
    program.chmod(0o755)
    process = launch(program)
    assert process.returncode == 126
    assert process.stderr == f"grpc-guard run: {program}: Exec format error\n"


def test_report_that_cannot_be_written_at_the_end(tmp_path: Path) -> None:
    """A report whose folder the program removes is said at the end; the status stays."""
    folder = tmp_path / "folder"
    folder.mkdir()
    code = f"import os; os.rmdir({str(folder)!r})"
    process = launch(
        "--report", folder / "r", "--write-baseline", folder / "b", sys.executable, "-c", code
    )
    assert process.returncode == 0
    for name in ("r", "b"):
        assert f"grpc_guard: {folder / name}: No such file or directory\n" in process.stderr


def test_launcher_does_not_import_grpc() -> None:
    """The launcher starts and judges a program without importing grpc."""
    code = "import sys, grpc_guard._cli.run.command; print('grpc' in sys.modules)"
    assert python("-c", code).stdout == "False\n"


# The same findings as by hand

RACES = {"sync_races": 3, "aio_races": 6, "stub_races": 3}


def essence(findings: list[Finding]) -> list[tuple[Any, ...]]:
    """Return what must be the same, however a program came to be guarded."""
    return sorted(
        (
            finding.rule.name,
            finding.severity,
            finding.rpc,
            finding.side,
            finding.api,
            finding.count,
            finding.caller.operation,
            finding.caller.site and (finding.caller.site.line, finding.caller.site.code),
            finding.owner and finding.owner.operation,
            finding.owner and finding.owner.site and finding.owner.site.line,
        )
        for finding in findings
    )


@pytest.mark.parametrize("program", RACES)
def test_same_findings_as_by_hand(
    program: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: Callable[[], list[Finding]],
) -> None:
    """A program under run, and with grpc_guard.auto, gets the findings that wrapping gives."""
    monkeypatch.syspath_prepend(str(PROGRAMS))
    runpy.run_path(str(PROGRAMS / f"{program}.py"))["main"](wrap)
    by_hand = essence(found())
    printed = capsys.readouterr().out
    assert len(by_hand) == RACES[program]

    report = tmp_path / "report.json"
    process = launch("--report", report, f"{program}.py")
    assert process.stdout == printed, process.stderr
    assert essence(found_in(report)) == by_hand

    monkeypatch.setenv("GRPC_GUARD", "raise")
    code = (
        "import json, runpy, grpc_guard.auto\n"
        f"runpy.run_path('{program}.py', run_name='__main__')\n"
        "from grpc_guard._reports.document import finding_to_dict\n"
        "print(json.dumps([finding_to_dict(finding) for finding in grpc_guard.findings()]))"
    )
    process = python("-c", code)
    *lines, told = process.stdout.splitlines(keepends=True)
    assert "".join(lines) == printed, process.stderr
    assert essence([finding_from_dict(data) for data in json.loads(told)]) == by_hand


# Signals


class Started:
    """A launcher that runs, in a process group of its own; its lines can be waited for."""

    def __init__(self, *args: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *RUN, *map(str, args)],
            cwd=PROGRAMS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> tuple[str, str]:
        """Close its standard input; return what else it prints."""
        return self.process.communicate(timeout=PATIENCE)


@pytest.fixture
def started() -> Iterator[Callable[..., Started]]:
    """Return a function that starts a launcher, whose processes do not outlive the test."""
    running: list[Started] = []

    def start(*args: object) -> Started:
        running.append(Started(*args))
        return running[-1]

    yield start
    for each in running:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.communicate(timeout=PATIENCE)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_reaches_the_program_once(
    number: signal.Signals, started: Callable[..., Started]
) -> None:
    """A signal to the launcher is passed on; a signal to the group is not passed on again."""
    launcher = started("handlers.py")
    assert launcher.line() == "ready"
    os.kill(launcher.process.pid, number)
    assert launcher.line() == number.name
    os.killpg(launcher.process.pid, number)
    assert launcher.line() == number.name
    # The launcher handles one signal after the other: the one before is dealt with by now.
    os.kill(launcher.process.pid, signal.SIGUSR1)
    assert launcher.line() == "SIGUSR1"
    assert launcher.end()[0] == "end\n"
    assert launcher.process.returncode == 0


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@posix
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks for processes in /proc")
def test_signal_without_the_witness(started: Callable[..., Started]) -> None:
    """If the launcher's witness is killed, signals are handed on all the same."""
    launcher = started("handlers.py")
    assert launcher.line() == "ready"
    pid = launcher.process.pid
    (witness,) = [child for child in _children_of(pid) if _command(child) == _command(pid)]
    os.kill(witness, signal.SIGKILL)
    os.kill(pid, signal.SIGTERM)
    assert launcher.line() == "SIGTERM"
    assert launcher.end()[0] == "end\n"
    assert launcher.process.returncode == 0


@posix
@pytest.mark.parametrize("to_all", [False, True], ids=["launcher", "group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_program_killed_by_a_signal(
    number: signal.Signals, to_all: bool, started: Callable[..., Started], tmp_path: Path
) -> None:
    """The launcher dies of the signal that the program died of, and writes its report before."""
    report = tmp_path / "report.json"
    launcher = started("--report", report, "endings.py", "hang")
    assert launcher.line() == "bytes ConcurrencyError"
    assert launcher.line() == "ready"
    (os.killpg if to_all else os.kill)(launcher.process.pid, number)
    _, said = launcher.end()
    assert launcher.process.returncode == -number
    assert said.count("KeyboardInterrupt") == (number == signal.SIGINT)
    assert [finding.rule for finding in found_in(report)] == ["concurrent-read"]


_ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@posix
def test_ctrl_c_on_a_terminal() -> None:
    """Ctrl-C, which the terminal sends to all, reaches the program once."""
    import pty

    ours, its = pty.openpty()
    launcher = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, *RUN, "handlers.py"],
        cwd=PROGRAMS,
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(its)
    try:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        os.write(ours, b"\3")
        assert launcher.stdout.readline() == "SIGINT\n"
        os.kill(launcher.pid, signal.SIGUSR1)
        assert launcher.stdout.readline() == "SIGUSR1\n"
        os.write(ours, b"\4")
        assert launcher.communicate(timeout=PATIENCE)[0] == "end\n"
    finally:
        os.close(ours)
        launcher.kill()
        launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == 0


# Parts of it


def test_spool_of_a_launcher_that_has_gone(tmp_path: Path) -> None:
    """A process that outlives its launcher reports to none, and goes on."""
    folder = tmp_path / "spool"
    folder.mkdir()
    writer = Writer(str(folder))
    folder.rmdir()
    writer.ended()
    assert not folder.exists()


def test_spool_that_cannot_be_written(tmp_path: Path) -> None:
    """At its end a process does not fail because it cannot tell; a finding's reporter does."""
    folder = tmp_path / "spool"
    folder.write_text("no folder")
    writer = Writer(str(folder))
    writer.ended()
    with pytest.raises(NotADirectoryError):
        writer.started()


def test_spool_without_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where processes do not fork, there is nothing to prepare for it."""
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    Writer(str(tmp_path)).started()
    assert [process.pid for process in read(str(tmp_path))] == [os.getpid()]


def test_spool_with_a_torn_line(tmp_path: Path) -> None:
    """A line that was not written to its end is left out; the others count."""
    whole = b'{"streams": 2, "operations": 3}\n'
    (tmp_path / "1-7.jsonl").write_bytes(whole + b'{"streams": 5, "oper')
    (tmp_path / "2-8.jsonl").write_bytes(b"")
    (tmp_path / "3-7.jsonl").write_bytes(whole)
    assert read(str(tmp_path)) == [Process(7, [], 4, 6), Process(8, [], 0, 0)]


FOUND = {"streams": 1, "operations": 1, "number": 1}
CALLER = {"kind": "thread", "name": "a", "operation": "next", "held_seconds": None, "stack": []}
WHOLE = {
    **dict.fromkeys(("rpc", "side", "api", "message", "remedy", "time"), ""),
    "rule": "concurrent-read",
    "severity": "error",
    "count": 1,
    "test": None,
    "owner": None,
    "caller": CALLER,
}


@pytest.mark.parametrize(
    "line",
    [
        b"\xff",
        b"[" * 100_000,
        b"[1]",
        b"x" * (FILE_LIMIT + 1),
        b'{"streams": NaN}',
        *(
            json.dumps(event).encode()
            for event in (
                {"streams": 10**400},
                {"streams": "1"},
                {"operations": -1},
                {"again": [[1]]},
                {"again": [[1, 1.5]]},
                {"not_kept": [["rule", "rpc"]]},
                {"not_kept": [["rule", "rpc", "many"]]},
                {"probe": {"totals": []}},
                {"probe": {"totals": ["1", 0, 0, 0], "memory": {}}},
                {**FOUND, "found": {}},
                {**FOUND, "found": {**WHOLE, "rule": "none-such"}},
                {**FOUND, "found": {**WHOLE, "rpc": 5}},
                {**FOUND, "found": {**WHOLE, "count": "1"}},
                {**FOUND, "found": {**WHOLE, "caller": {**CALLER, "stack": [{}]}}},
                {**FOUND, "found": {**WHOLE, "caller": {**CALLER, "held_seconds": "1"}}},
            )
        ),
    ],
)
def test_spool_with_a_damaged_line(line: bytes, tmp_path: Path) -> None:
    """Invalid lines are counted, and all other lines are read."""
    found = json.dumps({**FOUND, "found": WHOLE}).encode() + b"\n"
    (tmp_path / "1-7.jsonl").write_bytes(line + b"\n" + found + line + b"\n")
    (process,) = read(str(tmp_path))
    assert (process.unreadable, process.operations) == (2, 1)
    assert [finding.rule.name for finding in process.findings] == ["concurrent-read"]


def test_a_foreign_file_in_the_spool(tmp_path: Path) -> None:
    """A file that is no process's is left alone; one that cannot be read is said."""
    (tmp_path / "1-x.jsonl").write_text("{}")
    (tmp_path / "2-7.jsonl").mkdir()
    assert read(str(tmp_path)) == [Process(7, unreadable=1)]


def test_a_program_that_damages_the_spool(tmp_path: Path) -> None:
    """It keeps its exit status, and the launcher says that something is missing."""
    (tmp_path / "app.py").write_text(
        "import os, pathlib\n"
        "spool = pathlib.Path(os.environ['GRPC_GUARD_SPOOL'])\n"
        "(spool / '1-7.jsonl').write_text('[' * 100_000 + '\\n[]\\n')\n"
    )
    process = launch("app.py", cwd=tmp_path)
    assert (process.returncode, process.stdout) == (0, "")
    assert process.stderr.splitlines()[-1] == (
        "  2 lines from process 7 cannot be read; findings may be missing"
    )
    assert "Traceback" not in process.stderr


def test_without_posix_signals() -> None:
    """Without POSIX signals, Ctrl-C is left to the program, and restored afterwards."""
    before = signal.getsignal(signal.SIGINT)
    with handling("win32") as signals:
        program = "import sys; sys.stdin.read(); sys.exit(3)"
        child = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, **signals.options()
        )
        signal.raise_signal(signal.SIGINT)
        assert child.stdin is not None
        child.stdin.close()
        assert signals.wait(child) == 3
    assert signal.getsignal(signal.SIGINT) is before


# Where nobody can read what the launcher says


STATUS = "import grpc, sys; print('done'); sys.exit(3)"


@posix
@pytest.mark.parametrize("stderr", ["closed", "full", "left"])
def test_the_status_of_the_program_matters_more(stderr: str, tmp_path: Path) -> None:
    """Whatever becomes of stderr, the status is the program's, and stdout its own."""
    if stderr == "full" and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    program = tmp_path / "program.py"
    program.write_text(STATUS)
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.open("/dev/full", os.O_WRONLY) if stderr == "full" else writer
    script = (
        "import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    starts = ["-c", script] if stderr == "closed" else []
    try:
        ended = subprocess.run(
            [sys.executable, *starts, *RUN, str(program)],
            stdout=subprocess.PIPE,
            stderr=broken,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )
    finally:
        for descriptor in {broken, writer}:
            os.close(descriptor)
    assert (ended.returncode, ended.stdout) == (3, "done\n")


@posix
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_report_on_the_output_of_the_launcher(stream: str, tmp_path: Path) -> None:
    """It comes after what a log has already: what the program wrote, and what others did before."""
    log, program = tmp_path / "log", tmp_path / "program.py"
    log.write_text("before\n")
    program.write_text(f"import grpc, sys; print('done', file=sys.{stream})")
    with log.open("a") as file:
        subprocess.run(
            [sys.executable, *RUN, "--report", f"/dev/{stream}", "--format=text", str(program)],
            timeout=PATIENCE * 2,
            check=True,
            **{stream: file},  # type: ignore[call-overload]
        )
    lines = log.read_text().splitlines()
    assert lines[:2] == ["before", "done"]
    assert lines[2:] == ["grpc_guard: 0 streams and 0 operations guarded, 0 findings"] * (
        1 if stream == "stdout" else 2
    )
