"""Asking another process of this user what its streams are doing."""

from __future__ import annotations

import _socket
import contextlib
import os
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from .._catalogue.words import printable
from . import inspection_pb2 as pb
from .messages import VERSION, snapshot_of
from .places import entries
from .records import Snapshot
from .wire import receive, send

SECONDS = 5.0  # for an answer
_ENDED = "it has ended"
LIMIT = 1 << 30  # bytes of a reply
_AT_ONCE = 32  # processes that are asked by ps


class NoAnswerError(Exception):
    """A process cannot be asked, or does not answer; the message says why."""


def ask(pid: int, seconds: float = SECONDS) -> Snapshot:
    """Return what process `pid` says; NoAnswerError if it says nothing for so many seconds."""
    reason = "it does not answer to anybody: was it started with GRPC_GUARD_INSPECT=1?"
    for _, entry in entries(pid):
        try:
            return ask_at(entry, seconds)
        except NoAnswerError as error:
            reason = str(error)
    raise NoAnswerError(f"process {pid}: {reason}")


def ask_at(entry: str, seconds: float = SECONDS) -> Snapshot:
    """Return what the process with this entry says; NoAnswerError if it does not.

    An entry that a process has left behind is removed.
    """
    try:
        connection, token = _connected(entry, seconds)
        try:
            request = pb.Request(version=VERSION, token=token)
            send(connection, request.SerializeToString(), seconds)
            reply = pb.Reply.FromString(receive(connection, seconds, LIMIT, is_long=True))
        finally:
            connection.close()
    except (ConnectionRefusedError, FileNotFoundError):
        with contextlib.suppress(OSError):
            os.unlink(entry)
        raise NoAnswerError(_ENDED) from None
    except TimeoutError:
        raise NoAnswerError(
            f"no answer within {seconds:g} s: it is stopped (SIGSTOP, a debugger), or its "
            "interpreter is held by other threads or native code"
        ) from None
    except (OSError, DecodeError, ValueError) as error:
        raise NoAnswerError(f"no answer: {error}" if os.path.exists(entry) else _ENDED) from None
    return snapshot_in(reply)


def snapshot_in(reply: Any) -> Snapshot:
    """Return the snapshot that a process has sent; NoAnswerError if it has sent why it cannot."""
    if reply.error:
        raise NoAnswerError(f"it could not look at its streams: {printable(reply.error)}")
    return snapshot_of(reply.snapshot)


def ask_all(seconds: float = SECONDS) -> Iterator[Snapshot | tuple[int, str]]:
    """Yield what each process of this user says, or its pid and why it says nothing.

    All are asked at once, _AT_ONCE at a time: those that do not answer take their time together.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda found: _answer_of(found[0], found[1], seconds), list(entries()))
        yield from (answer for answer in answers if answer is not None)


def _answer_of(pid: int, entry: str, seconds: float) -> Snapshot | tuple[int, str] | None:
    try:
        return ask_at(entry, seconds)
    except NoAnswerError as error:
        return (pid, str(error)) if os.path.exists(entry) else None


def _connected(entry: str, seconds: float) -> tuple[Any, str]:
    """Return a connection to the process at `entry`, and the token that it requires."""
    address: Any = entry
    token = ""
    family = _socket.AF_INET
    if entry.endswith(".port"):
        with open(entry, encoding="ascii") as file:
            port, token = file.read().split()
        address = ("127.0.0.1", int(port))
    else:
        family = _socket.AF_UNIX
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    connection.settimeout(seconds)
    try:
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection, token
