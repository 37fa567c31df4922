"""``grpc-guard ps``, ``dump`` and ``top``: asking a process, or a server's service."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trustme
from inside import asking, cli_main, cli_targets, endpoints, inspect_messages
from support.snapshots import SNAPSHOT
from support.staging import PATIENCE, Gate, inside_grpc, path, sync_channel, sync_server

from grpc_guard import inspection

ME = str(os.getpid())


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for an answer than a user would: who is asked may get no processor for long."""
    monkeypatch.setattr(cli_targets, "SECONDS", PATIENCE)
    monkeypatch.setattr("grpc_guard._cli.ps.ask_all", lambda: asking.ask_all(PATIENCE))


@pytest.fixture
def reader() -> Any:
    """A reader that stands in next() of a stream of this process."""
    gate = Gate()

    def handler(request: Any, context: Any) -> Any:
        yield b"0"
        gate.park()

    methods = {"Read": grpc.unary_stream_rpc_method_handler(handler)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Read"))(b"")
        next(call)
        with gate.held():
            party = inside_grpc(next, call, name="reader")
            yield party
        party.exception()


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    status = cli_main.main(argv)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_ps(endpoint: Any, reader: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each process: pid, streams, findings, the longest hold, its main module."""
    status, out, err = run(capsys, "ps")
    head, line = out.splitlines()
    assert (status, err) == (0, "")
    assert head.split() == ["PID", "STREAMS", "FINDINGS", "LONGEST", "HELD", "PROGRAM"]
    assert re.fullmatch(rf"{ME} +\d+ +0 +[\d.e+-]+ (ms|s|min) +.+", line)


def test_ps_without_streams(
    endpoint: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that holds nothing has a dash; one that cannot be asked has the reason below."""
    (folder / "1-aa.port").write_text("nonsense")
    _, out, _ = run(capsys, "ps")
    (folder / "1-aa.port").unlink()
    lines = out.splitlines()
    assert len(lines) == 3
    assert " -  " in lines[1] or "m?s" not in lines[1]
    assert lines[2].startswith("1: no answer: ")


def test_ps_where_nobody_can_be_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Then it says who could be."""
    status, out, err = run(capsys, "ps")
    assert (status, out) == (1, "")
    assert err.startswith("grpc-guard ps: no process can be asked; those under grpc-guard run")


def test_dump(endpoint: Any, reader: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole answer as text, by pid or by the path of its socket."""
    for target in (ME, endpoint.entry):
        status, out, err = run(capsys, "dump", target)
        assert (status, err) == (0, "")
        assert out.startswith(f"process {ME} (")
        assert f"{path('Read')} (client, sync), open" in out
        assert "thread 'reader' in next for" in out


def test_dump_for_programs(endpoint: Any, reader: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as JSON, with the fields of the records."""
    _, out, _ = run(capsys, "dump", ME, "--json")
    data = json.loads(out)
    mine = ("client", path("Read"))
    (stream,) = (one for one in data["streams"] if (one["side"], one["rpc"]) == mine)
    assert data["pid"] == int(ME)
    assert stream["read"]["owner"]["name"] == "reader"
    assert data["findings"] == []


def test_top(endpoint: Any, reader: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The table again and again, one below the other where it is no terminal."""
    status, out, err = run(capsys, "top", ME, "--count", "2", "--interval", "0.001")
    assert (status, err) == (0, "")
    assert out.count("HELD ") == 2
    assert out.count("\n\n") == 1
    assert re.search(r"thread reader +next +/test.Guard/Read \(client, sync\) +\S+:\d+\n", out)


def test_top_on_a_terminal(
    endpoint: Any,
    reader: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a terminal the table takes the place of the one before, as far as there is room."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "3")
    _, out, _ = run(capsys, "top", ME, "--count", "1")
    first, second = out.splitlines()
    assert first.startswith("\x1b[H\x1b[2Jprocess")
    assert len(second) == 29 or second.startswith("HELD")


def test_top_until_control_c(
    endpoint: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends it, and that is no error."""

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("grpc_guard._cli.top.time", SimpleNamespace(sleep=interrupt))
    status, out, _ = run(capsys, "top", ME)
    assert (status, out.count("process ")) == (0, 1)


@pytest.mark.parametrize("command", ["dump", "top"])
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nonsense"], 2, "'nonsense' is neither the number of a process nor host:port"),
        (["1", "--tls"], 2, "TLS is for an ADDRESS, host:port"),
        (["h:1", "--cert", "x"], 2, "--cert and --key belong together"),
        (["h:1", "--ca", "/nowhere"], 2, "/nowhere: No such file or directory"),
        (["999999999"], 1, "there is no process 999999999"),
    ],
)
def test_who_cannot_be_asked(
    folder: Path,
    command: str,
    arguments: list[str],
    status: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bad target is named, with what to do."""
    assert run(capsys, command, *arguments) == (status, "", f"grpc-guard {command}: {said}\n")


def test_nothing_is_sent_to_a_process_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, 0 is no question whether the process is there: it is Ctrl-C."""

    def kill(pid: int, number: int) -> None:
        raise AssertionError(number)

    monkeypatch.setattr("grpc_guard._cli.targets.os.kill", kill)
    monkeypatch.delattr(sys, "remote_exec", raising=False)
    with pytest.raises(
        cli_targets.NoAnswerError, match="process 1 cannot be asked: start it .* is about to end"
    ):
        cli_targets._prepare(1, 1.0, platform="win32")


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", "1e9", "inf"])
def test_a_bad_number_of_seconds(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli_main.main(["dump", "1", f"--timeout={seconds}"])
    said = f"{seconds!r} is not a number of seconds above 0 and below 1,000,000"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "x", "1.5"])
def test_a_bad_number_of_snapshots(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli_main.main(["top", "1", f"--count={count}"])
    assert f"{count!r} is not a number of snapshots, 1 or more" in capsys.readouterr().err


@pytest.mark.skipif(
    sys.platform == "win32", reason="there, processes are entered without a question"
)
def test_a_number_that_no_process_has(capsys: pytest.CaptureFixture[str]) -> None:
    """However large it is."""
    number = str(10**30)
    said = f"grpc-guard dump: there is no process {number}\n"
    assert run(capsys, "dump", number) == (1, "", said)


def test_the_chat_of_the_docs() -> None:
    """The example of the page about programs that hang: ps, dump and top on a chat that stands still."""
    example = Path(__file__).parents[2] / "docs/examples/hangs/stalled_chat.py"
    ran = subprocess.run(
        [sys.executable, example], capture_output=True, text=True, timeout=60, check=True
    )
    session = ran.stdout
    pid = re.findall(r"\$ grpc-guard dump (\d+)", session)[0]
    assert re.search(rf"^{pid} +6 +0 +[\d.]+ s +\S+stalled_chat.py$", session, re.MULTILINE)
    assert "write: task 'handler of /chat.Chat/Join' in context.write for " in session
    assert "await member.write(message)" in session
    assert f"$ grpc-guard top {pid} --count 1\nprocess {pid} " in session


# A process that was not prepared


def test_a_process_that_was_not_prepared(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Python 3.14 it is said what to do."""
    monkeypatch.delattr(sys, "remote_exec", raising=False)
    status, _, err = run(capsys, "dump", ME)
    assert status == 1
    assert err.startswith(f"grpc-guard dump: process {ME} cannot be asked: start it under")


def test_a_process_of_another_user(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert run(capsys, "dump", "1")[2] == "grpc-guard dump: process 1 belongs to another user\n"


def test_entering_a_process(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python 3.14 on it is made to answer: here by a stand-in that runs the script at once."""
    from inside import endpoints, inspect_switch

    opened = endpoints.Endpoint()
    monkeypatch.setattr(endpoints, "endpoint", opened)
    monkeypatch.setattr(inspect_switch, "switch", inspect_switch.Switch())

    def remote_exec(pid: int, script: str) -> None:
        assert pid == int(ME)
        exec(Path(script).read_text(), {})

    monkeypatch.setattr(sys, "remote_exec", remote_exec, raising=False)
    status, out, _ = run(capsys, "dump", ME)
    assert (status, out.startswith(f"process {ME} (")) == (0, True)
    opened.close()
    monkeypatch.setattr(sys, "remote_exec", lambda pid, script: None)
    assert "it does not answer to anybody" in run(capsys, "dump", ME, "--timeout", "0.03")[2]

    def fail(pid: int, script: str) -> None:
        raise RuntimeError("remote debugging is off")

    monkeypatch.setattr(sys, "remote_exec", fail)
    assert run(capsys, "dump", ME)[2] == (
        f"grpc-guard dump: process {ME} could not be entered: remote debugging is off\n"
    )


@pytest.mark.parametrize("argv", [("ps",), ("dump", "1"), ("top", "1", "--count", "1")])
def test_characters_that_the_output_does_not_have(
    argv: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names and lines of source may hold any."""
    stream = dataclasses.replace(SNAPSHOT.streams[0], rpc="/a.B/Größe")
    odd = dataclasses.replace(SNAPSHOT, program="größe.py", streams=(stream,))
    monkeypatch.setattr(cli_targets, "asker", lambda arguments: lambda: odd)
    monkeypatch.setattr("grpc_guard._cli.ps.ask_all", lambda: [odd])
    written = io.BytesIO()
    with monkeypatch.context() as terminal, io.TextIOWrapper(written, "ascii") as ascii_only:
        terminal.setattr(sys, "stdout", ascii_only)
        assert cli_main.main(argv) == 0
        shown = written.getvalue()
    assert b"gr??e.py" in shown


# The service


@pytest.mark.parametrize("how", ["plain", "tls", "mutual"])
def test_asking_a_server(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], reader: Any
) -> None:
    """``host:port`` asks the service, with TLS and a certificate of the client if need be."""
    ca = trustme.CA()
    its, mine = ca.issue_cert("inspected.test"), ca.issue_cert("me.test")
    for name, blob in (
        ("ca", ca.cert_pem),
        ("cert", mine.cert_chain_pems[0]),
        ("key", mine.private_key_pem),
    ):
        blob.write_to_path(tmp_path / name)
    with sync_server(inspection.add_servicer, mode=None) as address:
        arguments = [address]
        if how != "plain":
            arguments = ["--ca", str(tmp_path / "ca"), "--authority", "inspected.test"]
        if how == "mutual":
            arguments += ["--cert", str(tmp_path / "cert"), "--key", str(tmp_path / "key")]
        if how == "plain":
            status, out, err = run(capsys, "dump", *arguments)
        else:
            credentials = grpc.ssl_server_credentials(
                [(its.private_key_pem.bytes(), its.cert_chain_pems[0].bytes())],
                ca.cert_pem.bytes(),
                require_client_auth=how == "mutual",
            )
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(2) as pool:
                server = grpc.server(pool)
                inspection.add_servicer(server)
                port = server.add_secure_port("127.0.0.1:0", credentials)
                server.start()
                status, out, err = run(capsys, "dump", f"127.0.0.1:{port}", *arguments)
                without, _, said = run(capsys, "dump", f"127.0.0.1:{port}")
                assert without == 1
                assert ("a server that uses TLS needs --tls" in said) == ("Socket closed" in said)
                server.stop(None).wait()
    assert (status, err) == (0, "")
    assert "thread 'reader' in next for" in out


def test_a_server_with_much_to_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its answer may be longer than the messages that gRPC takes by default."""
    long = "x" * (5 << 20)
    much = inspect_messages.reply_with(dataclasses.replace(SNAPSHOT, program=long))
    monkeypatch.setattr(endpoints, "answer", lambda: much)
    with sync_server(inspection.add_servicer, mode=None) as address:
        assert run(capsys, "dump", address)[1].startswith(f"process 1 ({long})")


def test_a_server_that_cannot_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What went wrong is said by its kind alone: its text might quote the program."""

    def fail() -> None:
        raise ValueError("secret")

    monkeypatch.setattr(endpoints, "answer", fail)
    with sync_server(inspection.add_servicer, mode=None) as address:
        status, _, err = run(capsys, "dump", address)
    assert (status, err) == (1, "grpc-guard dump: it could not look at its streams: ValueError\n")


def test_asking_where_there_is_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    """The status of the RPC says what is wrong."""
    with sync_server({}, mode=None) as address:
        status, _, err = run(capsys, "dump", address)
    hint = "(grpc_guard.inspection.add_servicer() adds the service to a server)"
    said = f"grpc-guard dump: {address}: UNIMPLEMENTED: Method not found! {hint}\n"
    assert (status, err) == (1, said)


def test_the_script_that_enters_a_process() -> None:
    """It is a program."""
    compile(cli_targets._PREPARE, "script", "exec")
