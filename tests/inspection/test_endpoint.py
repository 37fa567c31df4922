"""The endpoint: who may ask, what may be in the way, and that nobody can hold it up."""

from __future__ import annotations

import _socket
import _thread
import contextlib
import gc
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import (
    alarm,
    asking,
    endpoints,
    inspect_switch,
    inspection_pb2,
    places,
    process_wrapping,
    wire,
)
from support.forking import in_child
from support.staging import PATIENCE, in_thread, logged_by_us

import grpc_guard

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")
root = pytest.mark.skipif(os.getuid() != 0, reason="needs to become another user")

ME = os.getpid()


def connected(entry: str) -> Any:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    connection.connect(entry)
    return connection


def test_asking(endpoint: Any, folder: Path) -> None:
    """The process answers with its snapshot; folder and socket are the user's alone."""
    assert asking.ask(ME, PATIENCE).pid == ME
    (answer,) = asking.ask_all()
    assert answer.pid == ME
    assert [
        one & 0o777 for one in (folder.stat().st_mode, Path(endpoint.entry).stat().st_mode)
    ] == [
        0o700,
        0o600,
    ]
    endpoint.open()  # again changes nothing
    assert len(list(folder.iterdir())) == 1


def test_the_thread_is_not_the_program_s(endpoint: Any) -> None:
    """The program does not see the thread among its own."""
    gc.disable()  # what a finaliser logs makes the thread that it runs on one of the program's
    try:
        assert asking.ask(ME, PATIENCE).pid == ME
        serving = {
            ident
            for ident, top in sys._current_frames().items()
            for frame, _ in traceback.walk_stack(top)
            if frame.f_code is endpoints.Endpoint._serve.__code__
        }
        assert serving
        assert not serving & {thread.ident for thread in threading.enumerate()}
    finally:
        gc.enable()


def test_many_askers(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred at once get an answer each; how long a look takes is not what is tested."""
    taken = endpoints.answer()
    monkeypatch.setattr(endpoints, "answer", lambda: taken)
    patience = 5 * PATIENCE  # the thread answers one after the other
    with ThreadPoolExecutor(100) as pool:
        askers = [pool.submit(asking.ask, ME, patience) for _ in range(100)]
        assert {asker.result(patience).pid for asker in askers} == {ME}


def test_answering_by_itself(endpoint: Any) -> None:
    """What the thread does with one connection, done here: an answer, and none without a token."""
    for token, expected in (("", True), ("wrong", False)):
        ours, its = socket.socketpair()
        with ours, its:
            request = inspection_pb2.Request(version=1, token=token)
            wire.send(ours, request.SerializeToString(), PATIENCE)
            endpoint.answer(its)
            its.close()
            if expected:
                data = wire.receive(ours, PATIENCE, 1 << 24)
                assert inspection_pb2.Reply.FromString(data).snapshot.pid == ME
            else:
                with pytest.raises(OSError, match="hung up"):
                    wire.receive(ours, PATIENCE, 1 << 24)


def test_serving_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop of the thread, run here: it survives an accept that fails, and ends when closed."""
    monkeypatch.setattr(endpoints, "_PAUSE", 0.0)
    served = endpoints.Endpoint()
    outcomes: list[Callable[[], Any]] = []

    class Listener:
        def _accept(self) -> Any:
            return outcomes.pop(0)()

    def fail() -> Any:
        raise OSError(24, "no descriptor left")

    def silent() -> Any:
        ours, its = socket.socketpair()
        ours.close()
        return its.detach(), None

    def close() -> Any:
        served._listener = None
        raise OSError(22, "closed")

    outcomes += [fail, silent, close]
    served._listener = listener = Listener()
    served._serve(listener)
    assert outcomes == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xff\xff\xff", id="too long"),
        pytest.param(b"\0\0\0\5abc", id="too short"),
        pytest.param(b"\0\0\0\4\xff\xff\xff\xff", id="no message"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(random.Random(1).randbytes(5000), id="noise"),
    ],
)
def test_hostile_bytes(endpoint: Any, data: bytes) -> None:
    """Who asks in a wrong way is hung up on, and the next one gets an answer."""
    connection = connected(endpoint.entry)
    connection.sendall(data)
    connection.shutdown(_socket.SHUT_WR)
    try:
        assert connection.recv(1) == b""
    except ConnectionResetError:
        pass  # hung up before it had read all of it
    connection.close()
    assert asking.ask(ME, PATIENCE).pid == ME


def test_one_who_says_nothing(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who connects and sends nothing is hung up on in time."""
    with monkeypatch.context() as at_once:
        at_once.setattr(endpoints, "_REQUEST_SECONDS", 0.01)
        silent = connected(endpoint.entry)
        assert silent.recv(1) == b""
    assert asking.ask(ME, PATIENCE).pid == ME
    silent.close()
    with pytest.raises(OSError, match="too late"):
        wire._exactly(silent, 1, 0.0)


def test_one_who_never_reads(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who never takes its answer is given up on after a moment, and the next one is answered."""
    ours, its = socket.socketpair()
    with ours, its, monkeypatch.context() as at_once:
        closed: list[bool] = []
        large = [b"0", bytes(4 << 20)]  # more than a socket takes in
        told = SimpleNamespace(parts=large, close=lambda: closed.append(True))
        at_once.setattr(endpoints, "Reply", lambda **_: told)
        at_once.setattr(endpoints, "_REPLY_SECONDS", 0.01)
        wire.send(ours, inspection_pb2.Request(version=1).SerializeToString(), PATIENCE)
        with pytest.raises(TimeoutError):
            endpoint.answer(its)  # as its thread does
    assert closed == [True]
    assert asking.ask(ME, PATIENCE).pid == ME


def test_a_snapshot_that_fails(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What prevented it is told by its kind alone: its text might quote the program."""

    def fail(**_: bool) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(endpoints, "Reply", fail)
    with pytest.raises(asking.NoAnswerError) as raised:
        asking.ask(ME, PATIENCE)
    assert str(raised.value) == f"process {ME}: it could not look at its streams: KeyError"


# Who may ask


class Peer:
    """A connection whose peer is of some user."""

    family = _socket.AF_UNIX

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def getsockopt(self, *what: int) -> bytes:
        return struct.pack("3i", 1, self._uid, 1)


@pytest.mark.skipif(not hasattr(_socket, "SO_PEERCRED"), reason="needs SO_PEERCRED")
def test_another_user(endpoint: Any) -> None:
    """Only the same user, and root, get an answer."""
    assert not endpoints._is_same_user(Peer(os.geteuid() + 1))
    assert endpoints._is_same_user(Peer(os.geteuid()))
    endpoint.answer(Peer(os.geteuid() + 1))  # returns, and has read nothing


def test_a_system_that_does_not_say_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the private folder alone keeps the others out."""
    monkeypatch.delattr(_socket, "SO_PEERCRED", raising=False)
    assert endpoints._is_same_user(Peer(os.geteuid() + 1))


@root
@posix
def test_a_real_other_user(endpoint: Any, folder: Path) -> None:
    """Another user is kept out by the folder, and hung up on where that had been opened."""

    def connect() -> str:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        try:
            connection = connected(endpoint.entry)
            wire.send(connection, b"", PATIENCE)
            return "let in" if connection.recv(1) else "hung up on"
        except PermissionError:
            return "kept out"
        except OSError:
            return "hung up on"

    outcomes = []
    for is_open in (False, True):
        if is_open:
            folder.parent.chmod(0o711)
            folder.chmod(0o711)
            Path(endpoint.entry).chmod(0o666)
        outcomes.append(in_child(connect))
    assert outcomes == ["kept out", "hung up on"]
    folder.chmod(0o700)


# What is in the way


@pytest.mark.parametrize("what", ["symlink", "file", "open", "foreign"])
def test_a_folder_that_cannot_be_trusted(
    folder: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A process does not answer in such a folder, says why, once, and nobody asks there."""
    if what == "symlink":
        (folder.parent / "real").mkdir(0o700)
        folder.symlink_to(folder.parent / "real")
        because = "is a symbolic link"
    elif what == "file":
        folder.touch()
        because = "is no folder"
    elif what == "open":
        folder.mkdir()
        folder.chmod(0o750)
        because = "is open to others: its mode is 750, not 700"
    else:
        if os.getuid():
            pytest.skip("needs root")
        folder.mkdir(0o700)
        os.chown(folder, 65534, 65534)
        because = "belongs to uid 65534, not to 0"
    refused = endpoints.Endpoint()
    refused.open()
    refused.open()
    assert refused.entry == ""
    assert logged_by_us(caplog) == [
        f"this process cannot be asked what its streams are doing: {folder} {because}"
    ]
    assert list(places.entries()) == []


def test_no_thread_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the end of the interpreter, for one: a channel is made all the same, and no alarm rings."""

    def refuse(function: Any, args: Any) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    opened = endpoints.Endpoint()
    rung: list[str] = []
    with monkeypatch.context() as shutdown:
        shutdown.setattr(_thread, "start_new_thread", refuse)
        opened.open()
        alarm.Alarm(0.0, lambda: rung.append("rung"))._start()
    assert (opened.entry, rung) == ("", [])
    assert list(folder.iterdir()) == []
    (said,) = logged_by_us(caplog)
    assert said == (
        "this process cannot be asked what its streams are doing: "
        "can't create new thread at interpreter shutdown"
    )


@contextlib.contextmanager
def listening(entry: Path) -> Iterator[socket.socket]:
    """Bind a socket to `entry`, in a folder that is made for it."""
    entry.parent.mkdir(0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(PATIENCE)
        listener.bind(str(entry))
        yield listener


def test_entries_left_behind(folder: Path) -> None:
    """The sockets of processes that were killed are removed; what is no entry is left alone."""
    with listening(folder / "123-abc.sock"):
        pass
    for name in ("notes.txt", "x-y.sock"):
        (folder / name).touch()
    assert list(asking.ask_all()) == []
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "x-y.sock"]
    with pytest.raises(asking.NoAnswerError, match="process 123: it does not answer to anybody"):
        asking.ask(123)


def test_one_who_does_not_answer(folder: Path) -> None:
    """A process that hangs so that nothing of it runs is told apart from one that has ended."""
    with listening(folder / "123-abc.sock") as listener:
        listener.listen()
        ((pid, reason),) = asking.ask_all(0.01)
        assert pid == 123
        assert reason == (
            "no answer within 0.01 s: it is stopped (SIGSTOP, a debugger), or its interpreter is held "
            "by other threads or native code"
        )


def test_one_who_ends_while_it_is_asked(folder: Path) -> None:
    """It hangs up, and has taken its entry away."""
    entry = folder / "123-abc.sock"

    def end() -> None:
        connection, _ = listener.accept()
        with connection:
            entry.unlink()

    with listening(entry) as listener:
        listener.listen()
        process = in_thread(end)
        with pytest.raises(asking.NoAnswerError, match="process 123: it has ended"):
            asking.ask(123, PATIENCE)
        process.result()


def test_all_are_asked_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that do not answer take their time together."""
    folder.mkdir(0o700)
    for pid in (1, 2):
        (folder / f"{pid}-abc.sock").touch()
    both = threading.Barrier(2)

    def ask_at(entry: str, seconds: float) -> Any:
        both.wait(PATIENCE)
        raise asking.NoAnswerError("silent")

    monkeypatch.setattr(asking, "ask_at", ask_at)
    assert list(asking.ask_all()) == [(1, "silent"), (2, "silent")]


def test_functions_of_os_that_a_tool_has_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The endpoint has files of its own: those of `os` may be pyfakefs's, or raise at exit, when that is over."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(args)

    opened = endpoints.Endpoint()
    with monkeypatch.context() as replaced:
        for name in ("stat", "lstat", "mkdir", "chmod", "listdir", "unlink", "open", "path.isdir"):
            replaced.setattr(f"os.{name}", refuse)
        opened.open()
        entry = opened.entry
        found = list(places.entries(ME))
        opened.close()
    assert found == [(ME, entry)]
    assert not os.path.lexists(entry)
    assert logged_by_us(caplog) == []


def test_a_session_s_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a login session has a folder for such things, it is used; both are looked through."""
    runtime = folder.parent / "run"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert list(places.folders()) == [str(folder)]
    runtime.mkdir()
    assert list(places.folders()) == [str(runtime / "grpc-guard"), str(folder)]
    assert places.new_entry(".sock").startswith(str(runtime / "grpc-guard"))
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")  # a program may go to another folder
    assert list(places.folders()) == [str(folder)]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that root cannot write")
def test_a_session_s_folder_that_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is used; not where the first one may be somebody's trap."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/proc/self")
    assert places.new_entry(".sock").startswith(str(folder))
    runtime = folder.parent / "run"
    (runtime / "grpc-guard").mkdir(parents=True)
    (runtime / "grpc-guard").chmod(0o777)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with pytest.raises(places.UnsafeFolderError):
        places.new_entry(".sock")


# Where there are no Unix sockets


@pytest.fixture(params=["no Unix sockets", "a long path"])
def at_port(request: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "a long path":
        deep = folder.parent / ("x" * 100)
        deep.mkdir()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    else:
        monkeypatch.delattr(_socket, "AF_UNIX")
    opened = endpoints.Endpoint()
    opened.open()
    yield opened
    opened.close()


def test_asking_at_a_port(at_port: Any) -> None:
    """A port of the loopback interface, and a token in a file that is the user's alone."""
    assert at_port.entry.endswith(".port")
    assert Path(at_port.entry).stat().st_mode & 0o777 == 0o600
    assert asking.ask(ME, PATIENCE).pid == ME
    port, _ = Path(at_port.entry).read_text().split()
    Path(at_port.entry).write_text(f"{port} wrong")
    with pytest.raises(asking.NoAnswerError, match="hung up"):
        asking.ask(ME, PATIENCE)
    Path(at_port.entry).write_text("nonsense")
    with pytest.raises(asking.NoAnswerError, match="not enough values"):
        asking.ask(ME, PATIENCE)


# Forks


def test_after_a_fork(endpoint: Any) -> None:
    """A forked child has no endpoint, until it opens one of its own; the parent's stays."""
    twin = endpoints.Endpoint()
    twin._listener = _socket.socket(fileno=os.dup(endpoint._listener.fileno()))
    twin._entry, twin._pid = endpoint.entry, ME
    twin.after_fork()
    assert (twin.entry, twin._listener) == ("", None)
    assert asking.ask(ME, PATIENCE).pid == ME
    twin.after_fork()  # again changes nothing


# The switch


def test_the_switch(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A process answers if that is wanted, from its first channel or server on."""
    opened = endpoints.Endpoint()
    monkeypatch.setattr(endpoints, "endpoint", opened)
    switch = inspect_switch.Switch()
    switch.use()
    assert opened.entry == ""
    switch.want(True)
    assert opened.entry
    switch.want(False)
    assert opened.entry == ""
    switch.want(False)
    later = inspect_switch.Switch()
    later.want(True)
    assert opened.entry == ""
    later.use()
    assert asking.ask(ME, PATIENCE).pid == ME
    later.want(False)


def test_a_process_that_wraps(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """It answers as the environment says, unless somebody has decided; a bad value is an error each time."""
    opened = endpoints.Endpoint()
    monkeypatch.setattr(endpoints, "endpoint", opened)
    switch = inspect_switch.Switch()
    monkeypatch.setenv("GRPC_GUARD_INSPECT", "yes")
    for _ in range(2):
        with pytest.raises(ValueError, match="GRPC_GUARD_INSPECT: 'yes'"):
            switch.use_wrapped()
    monkeypatch.setenv("GRPC_GUARD_INSPECT", "1")
    switch.use_wrapped()
    assert asking.ask(ME, PATIENCE).pid == ME
    switch.want(False)  # as enable(inspect=False) does
    switch.use_wrapped()
    assert opened.entry == ""
    monkeypatch.delenv("GRPC_GUARD_INSPECT")
    other = inspect_switch.Switch()
    other.use_wrapped()
    assert (other.is_in_use, opened.entry) == (True, "")


def test_that_wrap_asks_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that stays as it is asks for nothing."""
    monkeypatch.setattr(process_wrapping, "inspection", inspect_switch.Switch())
    monkeypatch.setenv("GRPC_GUARD_INSPECT", "yes")
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        assert grpc_guard.wrap(channel, mode="off") is channel
        with pytest.raises(ValueError, match="GRPC_GUARD_INSPECT: 'yes'"):
            grpc_guard.wrap(channel)


def test_the_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRPC_GUARD_INSPECT is 1 or 0; another value is an error that says so."""
    for value, expected in (("1", True), ("0", False), ("", True)):
        monkeypatch.setenv("GRPC_GUARD_INSPECT", value)
        assert inspect_switch.of_environment(default=True) is expected
    monkeypatch.delenv("GRPC_GUARD_INSPECT")
    assert inspect_switch.of_environment(default=True)
    monkeypatch.setenv("GRPC_GUARD_INSPECT", "yes")
    with pytest.raises(ValueError, match="yes") as raised:
        inspect_switch.of_environment()
    assert str(raised.value) == "GRPC_GUARD_INSPECT: 'yes' is neither on nor off; use 1 or 0"


# Whole processes


def process(program: str, **environment: str) -> str:
    """Run `program` with the guard on and able to be asked; return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        env={**os.environ, "GRPC_GUARD_INSPECT": "1", "GRPC_VERBOSITY": "NONE", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    return ran.stdout


PRELUDE = """
import os, sys, subprocess
def asked(pid=None):
    code = ("import sys; from grpc_guard._inspect.asking import *\\n"
            "try: print(ask(int(sys.argv[1]), 20).pid == int(sys.argv[1]))\\n"
            "except NoAnswerError as error: print(error)")
    run = [sys.executable, "-c", code, str(pid or os.getpid())]
    return subprocess.check_output(run, text=True).strip()
"""
ENABLE = """
import grpc_guard
grpc_guard.enable()
import grpc
"""
UNDER_GEVENT = f"""
from gevent import monkey; monkey.patch_all()
{ENABLE}
import grpc.experimental.gevent; grpc.experimental.gevent.init_gevent()
"""


def test_a_program(folder: Path) -> None:
    """It answers from its first channel on, and leaves nothing behind."""
    said = process(
        ENABLE
        + "from grpc_guard._inspect.endpoint import endpoint\n"
        + "print(endpoint.entry == '')\n"
        + "channel = grpc.insecure_channel('127.0.0.1:1')\nprint(asked())\n"
        + "grpc_guard.disable()\nprint(endpoint.entry == '')\n"
        + "grpc_guard.enable(inspect=True)\nprint(asked())\n"
    )
    assert said == "True\nTrue\nTrue\nTrue\n"
    assert list(folder.iterdir()) == []


def test_an_idle_loop(folder: Path) -> None:
    """An asyncio loop that waits, and one that stands still, are asked all the same."""
    said = process(
        ENABLE
        + "import asyncio\n"
        + "async def main():\n"
        + "    async with grpc.aio.insecure_channel('127.0.0.1:1'):\n"
        + "        print(await asyncio.to_thread(asked))\n"
        + "        print(asked())\n"
        + "asyncio.run(main())\n"
    )
    assert said == "True\nTrue\n"


@posix
def test_a_fork(folder: Path) -> None:
    """The child has no endpoint before it makes a channel, then its own; the parent keeps its own."""
    said = process(
        ENABLE
        + "channel = grpc.insecure_channel('127.0.0.1:1')\n"
        + "import warnings; warnings.simplefilter('ignore')\n"
        + "pid = os.fork()\n"
        + "if pid == 0:\n"
        + "    from grpc_guard._inspect.endpoint import endpoint\n"
        + "    none = endpoint.entry == ''\n"
        + "    mine = grpc.insecure_channel('127.0.0.1:2')\n"
        + "    print(none, asked(), flush=True)\n"
        + "    os._exit(0)\n"
        + "os.waitpid(pid, 0)\n"
        + "print(asked(), asked(pid))\n"
    )
    first, second = said.splitlines()
    assert first == "True True"
    assert second.startswith("True process ")


@posix
def test_another_program_in_its_place(folder: Path) -> None:
    """After exec the old socket is stale: the process is said not to answer, and it is removed."""
    program = PRELUDE + "\nprint(asked()); print(asked())"
    said = process(
        ENABLE
        + "channel = grpc.insecure_channel('127.0.0.1:1')\n"
        + f"os.execv(sys.executable, [sys.executable, '-c', {program!r}])\n"
    )
    assert said.count("it has ended") == 1
    assert said.count("it does not answer to anybody") == 1


def test_gevent(folder: Path) -> None:
    """Under gevent the thread is a real one: a hub that is blocked is asked all the same."""
    pytest.importorskip("gevent")
    said = process(
        UNDER_GEVENT
        + "channel = grpc.insecure_channel('127.0.0.1:1')\n"
        + "import gevent.monkey\n"
        + "pid = os.posix_spawn(sys.executable, [sys.executable, '-c', "
        + '"import os,sys; from grpc_guard._inspect.asking import ask; "\n'
        + '"print(ask(int(sys.argv[1]), 20).pid == int(sys.argv[1]))", str(os.getpid())], os.environ)\n'
        + "gevent.monkey.get_original('os', 'waitpid')(pid, 0)\n"
        + "os._exit(0)\n",  # grpcio, plain too, starts a thread at the end, which 3.12 refuses
        PYTHONWARNINGS="ignore",
    )
    assert said == "True\n"


def test_handlers_that_are_greenlets(folder: Path) -> None:
    """Those of one thread are known apart: each stream of a server has its age."""
    pytest.importorskip("gevent")
    said = process(
        UNDER_GEVENT
        + "from concurrent.futures import ThreadPoolExecutor\n"
        + "import gevent.event\n"
        + "end = gevent.event.Event()\n"
        + "def behavior(requests, context):\n"
        + "    yield b''\n"
        + "    end.wait(20)\n"
        + "server = grpc.server(ThreadPoolExecutor(3))\n"
        + "handlers = {'Talk': grpc.stream_stream_rpc_method_handler(behavior)}\n"
        + "server.add_registered_method_handlers('test', handlers)\n"
        + "port = server.add_insecure_port('127.0.0.1:0')\n"
        + "server.start()\n"
        + "talk = grpc.insecure_channel(f'127.0.0.1:{port}').stream_stream('/test/Talk')\n"
        + "calls = [talk(iter(())) for _ in range(3)]\n"
        + "for call in calls: next(call)\n"
        + "streams = grpc_guard.snapshot().streams\n"
        + "print([one.age_seconds is None for one in streams if one.side == 'server'], flush=True)\n"
        + "os._exit(0)\n",
        PYTHONWARNINGS="ignore",
    )
    assert said == "[False, False, False]\n"
