"""Switching the probe on: in a process, for a program, for a test session."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any

import pytest
from inside import Memory, core_stream, probe
from support.staging import in_thread

import grpc_guard

pytest_plugins = ["pytester"]

# A reader that is followed by another, once: found in the second run.
PROGRAM = """
import threading, time
from concurrent import futures
import grpc

def count(request, context):
    return iter([b"0", b"1", b"2"])

with futures.ThreadPoolExecutor(2) as pool:
    server = grpc.server(pool)
    handlers = {"Count": grpc.unary_stream_rpc_method_handler(count)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream("/test/Count")(b"")
        came, read = threading.Event(), threading.Event()

        def first():
            came.set()
            next(call)
            read.set()

        def second():
            came.wait()
            WAIT
            try:
                next(call)
            except RuntimeError:
                pass

        threads = [threading.Thread(target=party) for party in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    server.stop(None).wait()
"""
SYNCHRONISED = PROGRAM.replace("WAIT", "read.wait()")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    probe.remember(Memory())  # with nothing learnt in earlier tests
    yield
    grpc_guard.disable()
    probe.remember(Memory())
    assert core_stream.watch is None


def test_enable() -> None:
    """enable() switches it on, leaves it as it is, and off; so does disable()."""
    grpc_guard.enable(probe=True)
    assert core_stream.watch is not None
    grpc_guard.enable("warn")
    assert core_stream.watch is not None
    grpc_guard.enable(probe=False)
    assert core_stream.watch is None
    grpc_guard.enable(probe="seed=1")
    grpc_guard.disable()
    assert core_stream.watch is None
    grpc_guard.enable()
    assert core_stream.watch is None


def test_guarded() -> None:
    """Blocks nest: the innermost that says something of the probe decides."""
    with grpc_guard.guarded(probe=True):
        with grpc_guard.guarded("warn"):
            assert core_stream.watch is not None
        with grpc_guard.guarded("warn", probe="off"):
            assert core_stream.watch is None
        with grpc_guard.guarded("off"):
            assert core_stream.watch is None
        assert core_stream.watch is not None

    @grpc_guard.guarded(probe=True)
    def function() -> bool:
        return core_stream.watch is not None

    assert function()


@pytest.mark.parametrize("act", [grpc_guard.enable, grpc_guard.guarded])
def test_a_bad_setting(act: Any) -> None:
    """A bad setting is refused before anything is switched on."""
    with pytest.raises(ValueError, match=rf"{act.__name__}\(probe\): 'x' is not a setting"):
        act(probe="x")
    assert not grpc_guard.is_enabled()


def test_one_prober() -> None:
    """The same settings go on with what was learnt, others begin anew, as does a forked child."""
    grpc_guard.enable(probe="seed=1")
    assert probe.learnt() is None
    first = probe.prober()
    assert probe.learnt() is not None
    grpc_guard.enable(probe="seed=1")
    assert probe.prober() is first
    probe.after_fork()
    assert probe.learnt() is None
    second = probe.prober()
    grpc_guard.enable(probe="seed=2")
    assert probe.prober() not in (first, second)
    assert probe.prober().core.settings.seed == 2


def test_two_threads_make_one_prober() -> None:
    """If two threads start their first streams at once, only one prober is made."""
    grpc_guard.enable(probe=True)
    assert len({in_thread(probe.prober).result() for _ in range(3)}) == 1


def test_enable_before_grpc() -> None:
    """Before the program imports grpc it may patch the standard library: nothing of it is imported."""
    program = (
        "import sys, grpc_guard\n"
        "grpc_guard.enable(probe='seed=1')\n"
        "assert not {'asyncio', 'ssl', 'grpc'} & set(sys.modules)\n"
        "import grpc\n"
        "from grpc_guard._core import stream\n"
        "assert stream.watch is not None\n"
        "grpc_guard.disable()\n"
        "assert stream.watch is None\n"
    )
    ran = run([sys.executable, "-c", program], timeout=60, check=False)
    assert ran.returncode == 0


def test_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    """grpc_guard.auto does what GRPC_GUARD_PROBE says."""
    monkeypatch.setenv("GRPC_GUARD", "raise")
    monkeypatch.setenv("GRPC_GUARD_PROBE", "seed=5")
    sys.modules.pop("grpc_guard.auto", None)
    __import__("grpc_guard.auto")
    assert probe.prober().core.settings.seed == 5
    monkeypatch.setenv("GRPC_GUARD_PROBE", "x")
    del sys.modules["grpc_guard.auto"]
    with pytest.raises(ValueError, match="GRPC_GUARD_PROBE: 'x' is not a setting"):
        __import__("grpc_guard.auto")


# grpc-guard run


def guard_run(folder: Path, *arguments: str, **environment: str) -> CompletedProcess[str]:
    plain = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_GUARD")}
    return run(
        [sys.executable, "-m", "grpc_guard", "run", *arguments],
        cwd=folder,
        env=plain | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def remembered(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "probe.json").read_text())  # type: ignore[no-any-return]


PATIENTLY = {"GRPC_GUARD_PROBE": "window=10,delay=1.5"}  # the machine may be slow
PROBE = ["--probe", "--probe-file", "probe.json", "--probe-seed", "7"]


def test_run(tmp_path: Path) -> None:
    """A program is probed: what it does is said before and after, and what it learnt is kept."""
    (tmp_path / "app.py").write_text(SYNCHRONISED)
    for number in (1, 2):
        ran = guard_run(tmp_path, *PROBE, "--report", "report.txt", "app.py", **PATIENTLY)
        assert ran.returncode == 0
        assert ran.stderr.splitlines()[0] == f"grpc_guard: probing with seed 7, run {number}"
        summary = ran.stderr.splitlines()[-1].strip()
        assert summary.startswith("probe: 1 near miss, ")
        assert (tmp_path / "report.txt").read_text().splitlines()[-1] == summary
    document = remembered(tmp_path)
    assert document["runs"] == 2
    (pair,) = document["pairs"]
    assert [place["file"] for place in pair["places"]] == ["app.py", "app.py"]
    assert pair["state"] == "dangerous"


def test_run_with_a_race(tmp_path: Path) -> None:
    """A race that comes near in the first run is found in the second."""
    # The second reader waits until the first is done or has had the time to be held back.
    (tmp_path / "app.py").write_text(PROGRAM.replace("WAIT", "read.wait(0.5)"))
    first = guard_run(tmp_path, *PROBE, "app.py", **PATIENTLY)
    assert first.returncode == 0
    second = guard_run(tmp_path, *PROBE, "app.py", **PATIENTLY)
    assert second.returncode == 66
    assert "(1.5 s; near miss within 10.0 s first seen in run 1)" in second.stderr
    (pair,) = remembered(tmp_path)["pairs"]
    assert pair["state"] == "found"


def test_run_by_the_environment(tmp_path: Path) -> None:
    """GRPC_GUARD_PROBE says it too, with thresholds; the program's children have it all."""
    (tmp_path / "app.py").write_text("import os; print(os.environ['GRPC_GUARD_PROBE'])")
    ran = guard_run(tmp_path, "app.py", GRPC_GUARD_PROBE="delay=0.02,seed=3")
    assert ran.stdout == "delay=0.02,seed=3\n"
    assert "grpc_guard: probing with seed 3, run 1" in ran.stderr
    assert "probe: 0 near misses, 0 delays, 0 synchronised pairs, 0.00 s spent" in ran.stderr
    ran = guard_run(tmp_path, "--mode", "off", "app.py", GRPC_GUARD_PROBE="seed=3")
    assert (ran.stdout, ran.stderr) == ("off\n", "")


@pytest.mark.parametrize("content", ["{}", "no json"])
def test_run_with_a_foreign_file(content: str, tmp_path: Path) -> None:
    """A file that is not the probe's is said, not used, and left as it is."""
    (tmp_path / "app.py").write_text("")
    (tmp_path / "probe.json").write_text(content)
    ran = guard_run(tmp_path, *PROBE, "app.py")
    assert ran.returncode == 0
    line, header, *_ = ran.stderr.splitlines()
    assert line.startswith("grpc_guard: --probe-file: probe.json: not a file of the probe")
    assert line.endswith("; it is left as it is, and not used")
    assert header == "grpc_guard: probing with seed 7, run 1"
    assert (tmp_path / "probe.json").read_text() == content


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--probe-file", "x"], {}, "--probe-file needs --probe"),
        (["--probe-seed", "1"], {}, "--probe-seed needs --probe"),
        (["--probe", "--probe-seed", "x"], {}, "--probe-seed: seed='x' is not a whole number"),
        ([], {"GRPC_GUARD_PROBE": "x"}, "GRPC_GUARD_PROBE: 'x' is not a setting of the probe"),
        (["--probe", "--probe-file", "no/x"], {}, "--probe-file: no/x: No such file or directory"),
    ],
)
def test_run_with_a_mistake(
    arguments: list[str], environment: dict[str, str], message: str, tmp_path: Path
) -> None:
    """A mistake is said before anything is started."""
    ran = guard_run(tmp_path, *arguments, "--", "app.py", **environment)
    assert ran.returncode in (2, 127)
    assert message in ran.stderr or "app.py: neither" in ran.stderr
    (tmp_path / "app.py").write_text("")
    ran = guard_run(tmp_path, *arguments, "app.py", **environment)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"grpc-guard run: {message}")


def test_run_with_a_file_that_goes_away(tmp_path: Path) -> None:
    """What was learnt and cannot be written is said, and changes nothing else."""
    (tmp_path / "app.py").write_text("import os; os.rmdir('folder')")
    (tmp_path / "folder").mkdir()
    ran = guard_run(tmp_path, "--probe", "--probe-file", "folder/probe.json", "app.py")
    assert ran.returncode == 0
    assert "folder/probe.json" in ran.stderr
    assert "No such file or directory" in ran.stderr


def test_a_child_with_a_bad_setting(tmp_path: Path) -> None:
    """A program that sets nonsense for its children leaves them unguarded, and that is said."""
    (tmp_path / "app.py").write_text(
        "import os, subprocess, sys; os.environ['GRPC_GUARD_PROBE'] = 'x'\n"
        "subprocess.run([sys.executable, '-c', ''])"
    )
    ran = guard_run(tmp_path, *PROBE, "app.py")
    assert "is not guarded: GRPC_GUARD_PROBE: 'x' is not a setting of the probe" in ran.stderr


# pytest


TEST = f"""
import threading

def test_it():
    exec(compile({SYNCHRONISED!r}, "app.py", "exec"), {{}})
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_session(
    workers: list[str], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is probed: the header has the seed, the summary what was done, the cache the rest."""
    monkeypatch.setenv("GRPC_GUARD_PROBE", "window=10")
    pytester.makepyfile(TEST)
    options = ["--grpc-guard", "--grpc-guard-probe", "--grpc-guard-probe-seed", "7", *workers]
    for number in (1, 2):
        result = pytester.runpytest_subprocess(*options)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(
            [
                f"grpc_guard: raise (from --grpc-guard), probing with seed 7, run {number}",
                "probe: 1 near miss, * delay*, 0 synchronised pairs, * s spent",
            ]
        )


def test_session_without_a_cache(pytester: pytest.Pytester) -> None:
    """Without pytest's cache each session is the first."""
    pytester.makepyfile(TEST)
    for _ in range(2):
        result = pytester.runpytest_subprocess(
            "--grpc-guard-probe", "--grpc-guard=warn", "-p", "no:cacheprovider"
        )
        result.stdout.fnmatch_lines(["*probing with seed *, run 1"])


@pytest.mark.parametrize("content", ["{}", "[" * 100_000])
def test_session_with_a_foreign_memory(content: str, pytester: pytest.Pytester) -> None:
    """An invalid memory is reported, not used, and left as it is."""
    pytester.makepyfile("def test_it(): pass")
    cached = pytester.path / ".pytest_cache" / "v" / "grpc_guard" / "probe"
    cached.parent.mkdir(parents=True)
    cached.write_text(content)
    result = pytester.runpytest_subprocess("--grpc-guard-probe")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            (
                "grpc_guard: raise (from --grpc-guard-probe), probing with seed *, run 1; "
                "grpc_guard/probe in pytest's cache is not used, and left as it is: *"
            )
        ]
    )
    assert cached.read_text() == content


def test_session_by_the_environment(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GRPC_GUARD_PROBE says it too; a mistake is a usage error."""
    pytester.makepyfile("def test_it(): pass")
    monkeypatch.setenv("GRPC_GUARD_PROBE", "seed=3")
    result = pytester.runpytest_subprocess()
    result.stdout.fnmatch_lines(["grpc_guard: probing with seed 3, run 1"])
    monkeypatch.setenv("GRPC_GUARD_PROBE", "off")
    result = pytester.runpytest_subprocess("--grpc-guard-probe-seed=3")
    result.stderr.fnmatch_lines(["*--grpc-guard-probe-seed needs --grpc-guard-probe*"])
