"""What ``dump`` and ``top`` ask: a process of this machine, or the service of a server."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._catalogue.words import printable
from .._inspect.asking import LIMIT, SECONDS, NoAnswerError, ask, ask_at
from .._inspect.places import entries
from .._inspect.records import Snapshot

Ask = Callable[[], Snapshot]

_TLS = ("ca", "cert", "key", "authority")
_LONGEST = 1_000_000  # seconds
_PREPARE = """\
from grpc_guard._inspect.switch import switch
switch.is_in_use = True
switch.want(True)
"""


class TargetError(Exception):
    """The command line names nothing that could be asked; the message says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add to `parser` the arguments that name a target."""
    parser.add_argument(
        "target",
        metavar="PID|ADDRESS",
        help="a process that grpc-guard ps lists, or host:port of a server that has the service",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=SECONDS,
        help="how long to wait for an answer (default: %(default)g)",
    )
    group = parser.add_argument_group("TLS, for ADDRESS")
    group.add_argument("--tls", action="store_true", help="use TLS; implied by the others")
    group.add_argument("--ca", metavar="FILE", type=Path, help="root certificates, PEM")
    group.add_argument("--cert", metavar="FILE", type=Path, help="certificate of the client, PEM")
    group.add_argument("--key", metavar="FILE", type=Path, help="its private key, PEM")
    group.add_argument("--authority", metavar="NAME", help="the name in the server's certificate")


def seconds(value: str) -> float:
    """Return a number of seconds; argparse.ArgumentTypeError for anything else."""
    with contextlib.suppress(ValueError):
        if 0 < float(value) < _LONGEST:
            return float(value)
    raise argparse.ArgumentTypeError(
        f"{value!r} is not a number of seconds above 0 and below {_LONGEST:,}"
    )


def asker(arguments: argparse.Namespace) -> Ask:
    """Return a function that asks the target named by `arguments`; it raises NoAnswerError.

    Raises TargetError if they name no target, or ask for TLS where it does not apply.
    """
    target, seconds = arguments.target, arguments.timeout
    if ":" in target and not os.path.exists(target):
        return _service(arguments)
    if arguments.tls or any(getattr(arguments, name) is not None for name in _TLS):
        raise TargetError("TLS is for an ADDRESS, host:port")
    if target.isdecimal():
        return lambda: _ask_process(int(target), seconds)
    if os.path.exists(target):
        return lambda: ask_at(target, seconds)
    raise TargetError(f"{target!r} is neither the number of a process nor host:port")


def _ask_process(pid: int, seconds: float) -> Snapshot:
    if not any(entries(pid)):
        _prepare(pid, seconds)
    return ask(pid, seconds)


def _find(pid: int) -> None:
    """Raise NoAnswerError if there is no such process, or it belongs to another user."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # no process has such a number
        raise NoAnswerError(f"there is no process {pid}") from None
    except PermissionError:
        raise NoAnswerError(f"process {pid} belongs to another user") from None


def _prepare(pid: int, seconds: float, platform: str = sys.platform) -> None:
    """Make a process answer that was not prepared for it, where Python supports that.

    Raises NoAnswerError that says what to do where it cannot.
    """
    if platform != "win32":  # where 0 is Ctrl-C, and is delivered
        _find(pid)
    remote_exec: Any = getattr(sys, "remote_exec", None)
    if remote_exec is None:
        raise NoAnswerError(
            f"process {pid} cannot be asked: start it under grpc-guard run, or with "
            "GRPC_GUARD_INSPECT=1 and the guard on (from Python 3.14 on it can be asked anyway); "
            "if you did, it has just started, or is about to end"
        )
    descriptor, script = tempfile.mkstemp(suffix=".py", prefix="grpc-guard-")
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(_PREPARE)
        remote_exec(pid, script)
        deadline = time.monotonic() + seconds
        while not any(entries(pid)) and time.monotonic() < deadline:
            time.sleep(0.02)  # it answers at its next bytecode instruction, if it runs one
    except (OSError, RuntimeError, ValueError) as error:
        raise NoAnswerError(f"process {pid} could not be entered: {error}") from None
    finally:
        os.unlink(script)


def _service(arguments: argparse.Namespace) -> Ask:
    import grpc

    from .._inspect.service import ask_service

    options: list[tuple[str, str | int]] = [("grpc.max_receive_message_length", LIMIT)]
    if arguments.authority is not None:
        options.append(("grpc.ssl_target_name_override", arguments.authority))
    if (arguments.cert is None) != (arguments.key is None):
        raise TargetError("--cert and --key belong together")
    credentials = None
    if arguments.tls or any(getattr(arguments, name) is not None for name in _TLS):
        credentials = grpc.ssl_channel_credentials(
            _read(arguments.ca), _read(arguments.key), _read(arguments.cert)
        )
        channel = grpc.secure_channel(arguments.target, credentials, options)
    else:
        channel = grpc.insecure_channel(arguments.target, options)

    def take() -> Snapshot:
        try:
            return ask_service(channel, arguments.timeout)
        except grpc.RpcError as error:
            call: Any = error
            said = printable(f"{arguments.target}: {call.code().name}: {call.details()}")
            raise NoAnswerError(f"{said}{_hint(call, is_plain=credentials is None)}") from None

    return take


def _hint(call: Any, *, is_plain: bool) -> str:
    """Return what may be done about the failure of an RPC, or nothing."""
    if call.code().name == "UNIMPLEMENTED":
        return " (grpc_guard.inspection.add_servicer() adds the service to a server)"
    if is_plain and "Socket closed" in str(call.details()):
        return " (a server that uses TLS needs --tls)"
    return ""


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise TargetError(f"{path}: {error.strerror}") from None
