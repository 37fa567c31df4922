"""``grpc-guard run`` around and inside other launchers, and processes that it does not reach."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import subprocess
import sys
import sysconfig
import types
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from inside import executed
from support.staging import PATIENCE

import grpc_guard

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")

SITE = Path(sysconfig.get_path("purelib"))
UNHEARD = "it executed a program that the guard did not reach, or was ended below Python, as by faulthandler"
GUARDED = "import grpc, grpc_guard; print('guarded:', grpc_guard.is_enabled())"

# What the sitecustomize of an agent does with the one that it hides, by the habit's name.
HABITS = {
    "ignores": "",
    "imports": """
own = sys.modules.pop("sitecustomize")
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = own
""",
    "loads": """
from importlib.machinery import PathFinder
spec = PathFinder.find_spec("sitecustomize", path=sys.path)
if spec is not None:
    spec.loader.load_module("sitecustomize")
""",
    "executes": """
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("sitecustomize", path=sys.path)
if spec is not None:
    spec.loader.exec_module(module_from_spec(spec))
""",
}
_AGENT = """
import os, sys
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
{habit}
print("agent started")
"""
_LAUNCHER = """
import os, sys
folder, *command = sys.argv[1:]
os.environ["PYTHONPATH"] = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
os.execvp(command[0], command)
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs without any setting."""
    for name in os.environ:
        if name.startswith(("GRPC_GUARD", "PYTHON")):
            monkeypatch.delenv(name)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Run a command to its end, in a folder of its own; return the completed process."""

    def run(*command: object) -> Any:
        return subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    return run


def guard(python: object = sys.executable) -> tuple[object, ...]:
    return (python, "-m", "grpc_guard", "run")


@pytest.fixture
def agent(tmp_path: Path) -> Callable[[str, object], tuple[object, ...]]:
    """Return the command of an agent's launcher, whose sitecustomize has `habit`."""

    def agent(habit: str, python: object = sys.executable) -> tuple[object, ...]:
        folder = tmp_path / habit
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_AGENT.format(habit=HABITS[habit]))
        (tmp_path / "launch.py").write_text(_LAUNCHER)
        return (python, tmp_path / "launch.py", folder)

    return agent


def test_installation() -> None:
    """The file by which Python itself brings the guard into its processes is installed."""
    assert (SITE / "grpc_guard.pth").is_file(), "not there: run pip install -e . once more"


@posix
@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("nesting", ["around", "inside"])
def test_a_launcher_with_a_sitecustomize(
    habit: str, nesting: str, run: Callable[..., Any], agent: Callable[..., Any], tmp_path: Path
) -> None:
    """Both are on, the guard around the agent's launcher and inside it."""
    (tmp_path / "app.py").write_text(GUARDED)
    commands = [guard(), agent(habit)]
    outer, inner = commands if nesting == "around" else reversed(commands)
    process = run(*outer, *inner, sys.executable, "app.py")
    started = 1 if nesting == "around" else 2  # with the guard's own process
    expected = ["agent started"] * started + ["guarded: True"]
    assert sorted(process.stdout.splitlines()) == expected, process.stderr
    assert (process.returncode, process.stderr) == (
        0,
        "grpc_guard: 0 streams and 0 operations guarded, 0 findings\n",
    )


@pytest.mark.parametrize("flag", ["-I", "-E", "-s"])
def test_an_interpreter_that_ignores_the_environment(
    flag: str, run: Callable[..., Any], tmp_path: Path
) -> None:
    """A process that takes nothing from PYTHONPATH is guarded; so is the launcher's own kind."""
    (tmp_path / "app.py").write_text(GUARDED)
    for command in (
        (*guard(), sys.executable, flag, "app.py"),
        (sys.executable, flag, "-m", "grpc_guard", "run", "app.py"),
    ):
        process = run(*command)
        assert (process.returncode, process.stdout) == (0, "guarded: True\n"), process.stderr


@pytest.mark.parametrize(
    "tool",
    [
        ("coverage", "run"),
        ("trace", "--trace", "--ignore-dir=/"),
        ("cProfile", "-o", "profile"),
    ],
    ids=lambda tool: tool[0],
)
def test_a_tool_that_runs_the_program(
    tool: tuple[str, ...], run: Callable[..., Any], tmp_path: Path
) -> None:
    """Tools that run a program in their own process run it guarded."""
    (tmp_path / "app.py").write_text(GUARDED)
    process = run(*guard(), "-m", *tool, "app.py")
    assert "guarded: True\n" in process.stdout, process.stderr
    assert "0 operations guarded, 0 findings\n" in process.stderr


# Where grpc_guard is not installed


@pytest.mark.usefixtures("by_path")
def test_an_interpreter_without_site(run: Callable[..., Any], tmp_path: Path) -> None:
    """A launcher whose children could not be reached says so."""
    (tmp_path / "app.py").write_text(GUARDED)
    process = run(sys.executable, "-S", "-m", "grpc_guard", "run", "app.py")
    assert process.returncode == 2
    assert "this interpreter runs with -I, -E or -S" in process.stderr


def test_an_interpreter_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says both ways in."""
    monkeypatch.setattr(sys, "flags", types.SimpleNamespace(no_site=0, ignore_environment=1))
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(executed.LaunchError) as refused:
        executed.command_line(["-m", "app"])
    assert str(refused.value) == (
        "this interpreter runs with -I, -E or -S and its children will too: the guard, which "
        "reaches them by grpc_guard.pth in site-packages or by PYTHONPATH, cannot"
    )


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the interpreter of an environment in which nothing is installed."""
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    return tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture
def by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let grpc_guard, and what it needs, be found by PYTHONPATH alone."""
    folders = [str(Path(grpc_guard.__file__).parents[1]), str(SITE)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))


@pytest.mark.usefixtures("by_path")
def test_found_by_path_alone(bare: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    """If nothing is installed, PYTHONPATH brings the guard into the processes."""
    (tmp_path / "app.py").write_text(GUARDED)
    process = run(*guard(bare), "app.py")
    assert (process.stdout, process.returncode) == ("guarded: True\n", 0), process.stderr


@posix
@pytest.mark.usefixtures("by_path")
@pytest.mark.parametrize("habit", ["imports", "loads", "executes"])
def test_found_by_path_alone_beside_a_launcher(
    habit: str, bare: Path, run: Callable[..., Any], agent: Callable[..., Any], tmp_path: Path
) -> None:
    """A launcher that runs the sitecustomize that it hides, in any way, still works."""
    (tmp_path / "app.py").write_text(GUARDED)
    process = run(*guard(bare), *agent(habit, bare), bare, "app.py")
    assert process.stdout == "agent started\nguarded: True\n", process.stderr
    assert "Error" not in process.stderr


@posix
@pytest.mark.usefixtures("by_path")
def test_hidden_by_a_launcher(
    bare: Path, run: Callable[..., Any], agent: Callable[..., Any], tmp_path: Path
) -> None:
    """If a launcher hides the only way in, that is reported."""
    (tmp_path / "app.py").write_text(GUARDED)
    report = tmp_path / "report.json"
    process = run(*guard(bare), "--report", report, *agent("ignores", bare), bare, "app.py")
    assert process.stdout == "agent started\nguarded: False\n"
    (missed,) = unguarded_in(report)
    assert process.stderr == (
        "grpc_guard: 0 streams and 0 operations guarded, 0 findings; 1 process not heard at the end\n"
        f"  process {missed['pid']} told nothing at its end: {missed['reason']}\n"
    )
    assert missed["reason"] == UNHEARD


def unguarded_in(report: Path) -> Any:
    """Return which processes a JSON report says were not guarded."""
    document = json.loads(report.read_text())
    schema = importlib.resources.files("grpc_guard._reports") / "report.schema.json"
    jsonschema.validate(document, json.loads(schema.read_text()))
    return document.get("unguarded")


@pytest.mark.parametrize("speaks", [True, False])
def test_another_environment(speaks: bool, run: Callable[..., Any], tmp_path: Path) -> None:
    """A process of an environment without grpc_guard is reported if it spoke gRPC."""
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "grpc_guard.py").write_text("# in the way of ours")
    (tmp_path / "app.py").write_text("import grpc" if speaks else "")
    (tmp_path / "main.py").write_text(
        "import os, subprocess, sys\n"
        "path = os.pathsep.join([os.environ['PYTHONPATH'], 'shadow'])\n"
        "environ = os.environ | {'PYTHONPATH': path}\n"
        "subprocess.run([sys.executable, 'app.py'], check=True, env=environ)\n"
    )
    report = tmp_path / "report.json"
    process = run(*guard(), "--report", report, "main.py")
    assert process.returncode == 0, process.stderr
    reasons = [missed["reason"] for missed in unguarded_in(report) or ()]
    assert reasons == [f"grpc_guard is not installed for {sys.executable}"] * speaks
    assert ("; 1 process not guarded\n" in process.stderr) == speaks


# Processes that were lost


@pytest.mark.parametrize(
    ("last", "is_lost"),
    [
        ("os.execv(sys.executable, [sys.executable, '-S', '-c', ''])", True),
        ("ctypes.CDLL(None)._exit(0)", True),  # as faulthandler does after its time-out
        ("os.execv(sys.executable, [sys.executable, '-c', 'import grpc'])", False),
        ("os._exit(0)", False),
    ],
)
@posix
def test_a_first_process_that_tells_nothing_at_its_end(
    last: str, is_lost: bool, run: Callable[..., Any], tmp_path: Path
) -> None:
    """Another program in its place, or an end below Python: which of them is not known."""
    (tmp_path / "app.py").write_text(f"import ctypes, grpc, os, sys; {last}")
    report = tmp_path / "report.json"
    process = run(*guard(), "--report", report, "app.py")
    assert process.returncode == 0
    reasons = [missed["reason"] for missed in unguarded_in(report) or ()]
    assert reasons == [UNHEARD] * is_lost
    assert ("; 1 process not heard at the end" in process.stderr) == is_lost
    assert "not guarded" not in process.stderr


def test_an_import_that_went_unnoticed(run: Callable[..., Any], tmp_path: Path) -> None:
    """A program that takes the guard's import hook away is not given a clean bill."""
    (tmp_path / "app.py").write_text(
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'guard' not in type(f).__module__]\n"
        "import grpc\n"
    )
    report = tmp_path / "report.json"
    process = run(*guard(), "--report", report, "app.py")
    (missed,) = unguarded_in(report)
    assert missed["reason"] == "it imported grpc unnoticed"
    assert process.stderr.startswith(
        "grpc_guard: 0 streams and 0 operations guarded, 0 findings; 1 process not guarded\n"
    )


def test_a_process_that_gave_up(run: Callable[..., Any], tmp_path: Path) -> None:
    """A process in which the guard could not go on is in the report, and says so at once."""
    (tmp_path / "grpc.py").write_text("")
    (tmp_path / "app.py").write_text("import grpc")
    report = tmp_path / "report.txt"
    process = run(*guard(), "--report", report, "app.py")
    (reason,) = re.findall(r"process \d+ is not guarded: (.* 'grpc'.*)\n", process.stderr)
    assert f"was not guarded: {reason}" in report.read_text()


@posix
def test_a_process_that_cannot_tell(run: Callable[..., Any], tmp_path: Path) -> None:
    """A process that may no longer write to the spool goes on, without an error."""
    (tmp_path / "grpc.py").write_text("")
    (tmp_path / "app.py").write_text(
        "import os, shutil\n"
        "spool = os.environ['GRPC_GUARD_SPOOL']\n"
        "shutil.rmtree(spool)\n"
        "open(spool, 'w').close()\n"  # nothing can be written into a file
        "import grpc\n"
        "print('goes on')\n"
    )
    process = run(*guard(), "app.py")
    assert (process.returncode, process.stdout) == (0, "goes on\n"), process.stderr
