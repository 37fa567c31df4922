"""``grpc-guard run`` and programs that hang: what was in progress is told before they are ended."""

from __future__ import annotations

import importlib.resources
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
from inside import (
    Progress,
    Writer,
    deductions,
    endpoints,
    lingering,
    run_child,
    run_launcher,
    run_signals,
)
from support.staging import (
    PATIENCE,
    Gate,
    inside_grpc,
    path,
    sync_channel,
    sync_server,
    telling,
    wait,
)

from grpc_guard import snapshot

PROGRAMS = Path(__file__).parents[1] / "programs"

SCHEMA = json.loads(
    (importlib.resources.files("grpc_guard._reports") / "report.schema.json").read_text()
)

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start programs without any setting."""
    for name in os.environ:
        if name.startswith(("GRPC_GUARD", "PYTHON")):
            monkeypatch.delenv(name)


# A launcher whose --dump-after is over when its standard input has a line.
GATED = """
import sys, threading
from grpc_guard._cli.main import main

class Timer(threading.Timer):
    def run(self):
        sys.stdin.readline()
        self.function(*self.args)

threading.Timer = Timer
sys.exit(main())
"""


@contextmanager
def running(*args: str, launcher: Any = ("-m", "grpc_guard")) -> Iterator[subprocess.Popen[str]]:
    """Run ``grpc-guard run`` with `args`; kill it at the end if it is still there."""
    command, pipe = [sys.executable, *launcher, "run", *args], subprocess.PIPE
    started = subprocess.Popen(
        command, cwd=PROGRAMS, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    try:
        yield started
    finally:
        started.terminate()  # which it hands on
        started.communicate(timeout=PATIENCE)


def check(stderr: str, reason: str) -> None:
    assert f"grpc_guard: in progress {reason}:\nprocess " in stderr
    assert "/test.Stuck/Events (client, sync), open" in stderr
    assert "thread 'consumer' in next for" in stderr


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_program_that_is_ended(name: str, tmp_path: Path) -> None:
    """The signal is handed on after the program has said what is in progress; the report has it."""
    report = tmp_path / "report.json"
    with running("--report", str(report), "stuck.py") as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        launcher.send_signal(getattr(signal, name))
        _, stderr = launcher.communicate(timeout=PATIENCE)
    check(stderr, f"at {name}")
    assert launcher.returncode == -getattr(signal, name)
    document = json.loads(report.read_text())
    jsonschema.validate(document, SCHEMA, jsonschema.Draft202012Validator)
    (taken,) = document["in_progress"]
    assert document["streams"] == len(taken["streams"])  # it has told the totals with the answer
    assert document["operations"] > 0
    (stream,) = (one for one in taken["streams"] if one["side"] == "client")
    assert (stream["rpc"], stream["read"]["owner"]["name"]) == ("/test.Stuck/Events", "consumer")


# A program that says who it is, and whose connection ends with it.
LINKED = """
import os, signal, socket, sys
import grpc
link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
link.sendall(b"%d" % os.getpid())
signal.pause()
"""


@posix
def test_a_second_signal(tmp_path: Path) -> None:
    """One that comes when the program has ended does not cost its report, nor the exit status."""
    program, report = tmp_path / "linked.py", tmp_path / "report.json"
    program.write_text(LINKED)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        port = str(listener.getsockname()[1])
        with running("--report", str(report), str(program), port) as launcher:
            link, _ = listener.accept()
            with link:
                link.settimeout(PATIENCE)
                pid = int(link.recv(100))
                launcher.send_signal(signal.SIGSTOP)
                os.kill(pid, signal.SIGKILL)
                assert link.recv(1) == b""
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
                    launcher.send_signal(number)
            _, stderr = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode == -signal.SIGKILL
    assert f"process {pid} told nothing at its end: SIGKILL ended it" in stderr
    told = json.loads(report.read_text())
    assert (told["findings"], told["cut_off"]) == ([], [{"pid": pid, "signal": "SIGKILL"}])


def test_the_name_of_a_signal() -> None:
    """Signals between the first and the last of the real-time ones have a number alone."""
    assert run_signals.name_of(signal.SIGTERM) == "SIGTERM"
    assert run_signals.name_of(1000) == "signal 1000"


@posix
def test_dump_after() -> None:
    """With --dump-after it is printed after some time, and the program goes on."""
    with running("--dump-after", "3", "stuck.py", launcher=("-c", GATED)) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        assert launcher.stderr is not None
        assert launcher.stdout.readline() == "ready\n"
        print("now", file=launcher.stdin, flush=True)
        lines: list[str] = []
        while "channel 1:" not in "".join(lines):
            lines.append(launcher.stderr.readline())
        assert launcher.poll() is None
    stderr = "".join(lines)
    check(stderr, "after 3 s")
    assert (
        "joined: [stream 1] thread 'MainThread' waits, with a time-out, for the end of thread "
        in stderr
    )


def test_dump_after_where_nobody_answers(tmp_path: Path) -> None:
    """It says so, and when a process can be asked: silence would look as if nothing were in progress."""
    said: list[str] = []
    timer = Progress(str(tmp_path), said.append).ask_after(0.0)
    assert timer is not None
    timer.join(PATIENCE)
    (text,) = said
    assert text == (
        "grpc_guard: in progress after 0 s: no process answered; one can be asked once it has "
        "made a channel or a server, unless GRPC_GUARD_INSPECT is 0 or the guard is off"
    )


def test_a_program_that_cannot_be_asked() -> None:
    """With GRPC_GUARD_INSPECT=0 nothing is asked; a bad value is a usage error."""
    for value, status in (("0", 0), ("maybe", 2)):
        ran = subprocess.run(
            [sys.executable, "-m", "grpc_guard", "run", "--dump-after", "0.001", "identity.py"],
            env={**os.environ, "GRPC_GUARD_INSPECT": value},
            cwd=PROGRAMS,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert ran.returncode == status
        assert "live stream" not in ran.stderr
    assert "GRPC_GUARD_INSPECT: 'maybe' is neither on nor off; use 1 or 0" in ran.stderr


@pytest.mark.parametrize(
    ("started", "name", "kind"),
    [
        ("late", "consumer", "no daemon"),
        ("early", "consumer", "no daemon"),
        ("pool", "consumer_0", "of a pool"),
    ],
)
def test_a_thread_that_keeps_the_process(started: str, name: str, kind: str) -> None:
    """After the main thread has ended, who keeps the process is said, once."""
    ran = subprocess.run(
        [sys.executable, "-m", "grpc_guard", "run", "stuck.py", started],
        cwd=PROGRAMS,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )
    assert ran.returncode == 0
    said, dumped = (line for line in ran.stdout.splitlines() if f"'{name}'" in line)
    assert said.startswith(
        f"the main thread has ended, and the process waits for thread '{name}', which is {kind} "
        "and has been in next of /test.Stuck/Events for "
    )
    assert "stuck.py:" in said
    assert dumped.startswith(f"{PROGRAMS / 'stuck.py'} kept alive: [")
    assert said.partition(", which ")[0] in dumped


def test_pools_that_are_imported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread waits for them as soon as it ends: what is to be done before is done once."""
    registered: list[Any] = []
    imported: list[Any] = []
    monkeypatch.setattr(threading, "_register_atexit", registered.append)
    monkeypatch.setattr(run_child, "after_import", lambda name, then: imported.append(then))
    called: list[int] = []
    run_child._before_pools_are_joined(lambda: called.append(1))
    assert len(registered) == 1
    registered.append(None)  # that of the pools
    imported[0]()
    first, pools, second = reversed(registered)
    assert pools is None
    assert called == []
    first()
    second()
    assert called == [1]


def test_a_python_that_cannot_say_when_main_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is said."""
    monkeypatch.delattr(threading, "_register_atexit")
    lingering.watch(print)


def test_which_threads_keep_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are no daemons, or of a pool, and are inside a stream."""
    gate = Gate()

    def handler(request: Any, context: Any) -> Any:
        yield b"0"
        gate.park()

    methods = {"Keep": grpc.unary_stream_rpc_method_handler(handler)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        calls = [channel.unary_stream(path("Keep"))(b"") for _ in range(2)]
        for call in calls:
            next(call)
        with gate.held():
            inside_grpc(next, calls[0], name="daemon")
            enter, entered = telling(lambda: list(calls[1]))
            keeper = threading.Thread(target=enter, name="keeper")
            keeper.start()
            wait(entered)
            said: list[str] = []
            lingering._tell_later(said.append, threading.Lock(), 0.0)
            kept = [one for one in snapshot().deductions if one.kind == "kept-alive"]
            monkeypatch.setattr(deductions, "waits_for_threads", lambda frame: True)
            told = [one.text for one in snapshot().deductions if one.kind == "kept-alive"]
        keeper.join()
    assert kept == []  # while the main thread runs
    for texts in (said, told):
        (own,) = (one for one in texts if "which is no daemon" in one)
        assert "the process waits for thread 'keeper'" in own
        others = [one for one in texts if one != own]
        assert len(others) == 2  # the handlers: a process waits for the threads of its pools
        assert all("waits for thread 'worker_" in one and "of a pool" in one for one in others)


def test_asking_the_processes_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the spool that answer are told; the rest, and the launcher itself, are left out."""
    top = tempfile.mkdtemp(prefix="gg")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", top)
    opened = endpoints.Endpoint()
    opened.open()
    spool = Path(top)
    said: list[str] = []
    progress = Progress(str(spool), said.append)
    Writer(str(spool)).started()
    (spool / "1-999999999.jsonl").touch()
    progress.ask("now")
    assert [answer.pid for answer in progress.answers] == [os.getpid()]
    assert said[0].startswith("grpc_guard: in progress now:\nprocess ")
    (kept,) = progress.answers
    monkeypatch.setattr("grpc_guard._cli.run.progress.SECONDS", 0.0)
    progress.ask("too late")
    assert progress.answers == [kept]
    monkeypatch.setattr("grpc_guard._cli.run.progress.SECONDS", PATIENCE)
    opened._listener.shutdown(socket.SHUT_RDWR)  # it no longer answers
    progress.ask("again")
    assert progress.answers == [kept]
    assert len(said) == 1
    assert progress.ask_after(None) is None
    opened.close()


def test_a_program_that_ends_before_it_is_asked(tmp_path: Path) -> None:
    """No timer is left that would ask later."""
    timers = []

    class Noted(Progress):
        def ask_after(self, seconds: float | None) -> Any:
            timers.append(super().ask_after(seconds))
            return timers[-1]

    progress = Noted(str(tmp_path), lambda line: None)
    command = [sys.executable, "-c", ""]
    with run_launcher.handling() as signals:
        status, _ = run_launcher._wait(command, {**os.environ}, signals, progress, 3600.0)
    assert status == 0
    (timer,) = timers
    timer.join(PATIENCE)
    assert not timer.is_alive()
