"""Tests that hang: what is in progress is printed before they are ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from inside import Dumps, parse_seconds
from support.sessions import ALONE
from support.staging import PATIENCE

HANGING = """
import threading
import grpc
from concurrent.futures import ThreadPoolExecutor

calls = []

def test_hang():
    gone = threading.Event()

    def silent(request, context):
        context.add_callback(gone.set)
        yield b""
        gone.wait()

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handlers = {"Silent": grpc.unary_stream_rpc_method_handler(silent)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Hang", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_stream("/test.Hang/Silent")(b"")
            next(call)
            calls.append(call)
            try:
                next(call)
            except grpc.RpcError:
                pass
            finally:
                call.cancel()
                server.stop(None)
"""


# It is told when the test hangs, which ends when that was done, however long it took.
ENDING = """
import os, signal, threading, time
import grpc_guard
from grpc_guard._pytest import dumps

plain = dumps.Dumps.tell
dumps._LEAD, dumps._SHARE = 29.9, 0.0  # of 30 s

def hangs(calls):
    return calls and grpc_guard.status(calls[0]).read is not None

def tell(self, item, limit):
    while not hangs(item.module.calls):
        time.sleep(0.01)
    plain(self, item, limit)
    END

dumps.Dumps.tell = tell
"""
BY_CANCEL = "item.module.calls[0].cancel()"
BY_SIGNAL = "os.kill(os.getpid(), signal.SIGALRM)"  # as pytest-timeout's own alarm
BY_TIMER = "[each.function(*each.args) for each in threading.enumerate() if hasattr(each, 'args')]"


def session(tmp_path: Path, *arguments: str, end: str = "pass", ini: str = "") -> tuple[str, str]:
    """Run a session in which a test hangs; return what it printed."""
    (tmp_path / "test_it.py").write_text(HANGING)
    (tmp_path / "conftest.py").write_text(ENDING.replace("END", end))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *ALONE, "--grpc-guard", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
    )
    return ran.stdout, ran.stderr


def check(text: str) -> None:
    assert "/test.Hang/Silent (client, sync), open" in text
    assert "thread 'MainThread' in next for" in text
    assert "test_it.py" in text


@pytest.mark.skipif(sys.platform == "win32", reason="pytest-timeout needs SIGALRM for it")
def test_a_test_that_pytest_timeout_ends(tmp_path: Path) -> None:
    """Its report has what was in progress, and so has stderr."""
    stdout, stderr = session(tmp_path, "--timeout=30", "--timeout-method=signal", end=BY_SIGNAL)
    assert "1 failed" in stdout
    section = stdout.partition("- Captured grpc_guard: in progress call -")[2]
    check(section)
    assert "grpc_guard: in progress in test_it.py::test_hang (limit 30 s):" in stderr
    check(stderr)


def test_a_session_that_pytest_timeout_ends(tmp_path: Path) -> None:
    """Where it ends the whole process, stderr has it."""
    _, stderr = session(tmp_path, "--timeout=30", "--timeout-method=thread", end=BY_TIMER)
    assert "grpc_guard: in progress in test_it.py::test_hang (limit 30 s):" in stderr
    check(stderr)


def test_dump_after(tmp_path: Path) -> None:
    """It is told after the time that was asked for, and the test goes on: here to its end."""
    stdout, stderr = session(tmp_path, "--grpc-guard-dump-after", "0.1", end=BY_CANCEL)
    assert "1 passed" in stdout
    assert "grpc_guard: in progress in test_it.py::test_hang (limit 0.1 s):" in stderr
    check(stderr)


def test_faulthandler_timeout(tmp_path: Path) -> None:
    """Before Python's own traceback of all threads, which says nothing of streams."""
    _, stderr = session(tmp_path, end=BY_CANCEL, ini="faulthandler_timeout = 30\n")
    assert "grpc_guard: in progress in test_it.py::test_hang (limit 30 s):" in stderr
    check(stderr)


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_a_bad_number_of_seconds(value: str) -> None:
    with pytest.raises(ValueError, match="dump-after") as raised:
        parse_seconds(value)
    assert str(raised.value) == (
        f"--grpc-guard-dump-after: {value!r} is not a number of seconds above 0"
    )
    assert parse_seconds("1.5") == 1.5


def test_bad_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are usage errors of the session."""
    _, stderr = session(tmp_path, "--grpc-guard-dump-after", "soon")
    assert "ERROR: --grpc-guard-dump-after: 'soon' is not a number of seconds above 0" in stderr
    monkeypatch.setenv("GRPC_GUARD_INSPECT", "maybe")
    _, stderr = session(tmp_path)
    assert "ERROR: GRPC_GUARD_INSPECT: 'maybe' is neither on nor off; use 1 or 0" in stderr


class Config:
    """What Dumps.of() asks."""

    def __init__(self, **ini: str) -> None:
        self._ini = ini

    def getoption(self, name: str) -> str:
        return "1.5"

    def getini(self, name: str) -> str:
        if name not in self._ini:
            raise ValueError(name)
        return self._ini[name]


class Item:
    nodeid = "test_it"

    def __init__(self) -> None:
        self.sections: list[tuple[str, ...]] = []

    def add_report_section(self, *section: str) -> None:
        self.sections.append(section)


def test_the_alarms_of_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each who may end the test, called off at its end; without stderr the report alone."""
    dumps = Dumps.of(Config())  # type: ignore[arg-type]
    assert (dumps._after, dumps._of_faulthandler) == (1.5, 0.0)
    dumps = Dumps.of(Config(faulthandler_timeout="60"))  # type: ignore[arg-type]
    item = Item()
    dumps.begin_test(item)  # type: ignore[arg-type]
    dumps.before_end(item, None)  # type: ignore[arg-type]
    assert len(dumps._alarms) == 2
    dumps.end_test()
    assert dumps._alarms == []
    monkeypatch.setattr(sys, "stderr", None)
    dumps.begin(is_on=False)
    dumps.tell(item, 1.5)  # type: ignore[arg-type]
    dumps.end()
    ((when, title, text),) = item.sections
    assert (when, title) == ("call", "grpc_guard: in progress")
    assert text.startswith("process ")


def test_what_stderr_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes to the original stderr, whatever replaces that later."""
    dumps, item = Dumps(None, 0.0), Item()
    with (tmp_path / "stderr").open("w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        dumps.begin(is_on=False)
    monkeypatch.undo()
    dumps.begin_test(item)  # type: ignore[arg-type]
    dumps.tell(item, 1.5)  # type: ignore[arg-type]
    dumps.end()
    told = (tmp_path / "stderr").read_text()
    assert told.startswith("\ngrpc_guard: in progress in test_it (limit 1.5 s):\nprocess ")
