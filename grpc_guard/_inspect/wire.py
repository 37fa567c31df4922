"""The bytes between the two sides of a request: each message after its length.

Sockets here are those of the C module, never those that gevent puts in their place: both sides
run in threads of their own.
"""

from __future__ import annotations

import _socket
import struct
from collections.abc import Sequence

from .._catalogue.clock import monotonic

_HEADER = 4  # bytes


class WireError(OSError):
    """The bytes are not a message of the guard."""


def send(connection: _socket.socket, data: bytes, seconds: float) -> None:
    """Send `data` within this many seconds; raises OSError."""
    send_parts(connection, [data], seconds)


def send_parts(
    connection: _socket.socket, parts: Sequence[bytes | memoryview], seconds: float
) -> None:
    """Send the `parts` of a message; raises OSError if the other side takes nothing for so many seconds.

    It may take as long as it likes for all of it: an answer has megabytes, and a machine under load
    gives the one who asks little of its time.
    """
    length = sum(map(len, parts))
    left = [memoryview(part) for part in (length.to_bytes(_HEADER, "big"), *parts)]
    _await_progress(connection, seconds)
    while left:
        try:
            sent = _send_some(connection, left)
        except BlockingIOError:
            raise TimeoutError(f"the other side took nothing for {seconds:g} s") from None
        while left and sent >= len(left[0]):
            sent -= len(left.pop(0))
        if sent:
            left[0] = left[0][sent:]


_PIECES = 64  # that are sent by one call


def _await_progress(connection: _socket.socket, seconds: float) -> None:
    """Have each call wait so long for the other side.

    In the kernel: with the time-out that Python has for sockets, the thread would need the interpreter
    again for each 200 kB, and wait 5 ms for it where other threads work.
    """
    if not hasattr(connection, "sendmsg"):  # Windows
        connection.settimeout(seconds)
        return
    whole, part = divmod(max(seconds, 1e-6), 1.0)  # none at all would be for ever
    limit = struct.pack("ll", int(whole), int(part * 1e6))
    connection.settimeout(None)
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, limit)


def _send_some(connection: _socket.socket, left: Sequence[memoryview]) -> int:
    if not hasattr(connection, "sendmsg"):
        return connection.send(left[0])
    return connection.sendmsg(left[:_PIECES])


def receive(
    connection: _socket.socket, seconds: float, limit: int, *, is_long: bool = False
) -> bytes:
    """Receive a message of at most `limit` bytes within so many seconds; raises OSError.

    If it `is_long`, each piece of it may take so long.
    """
    deadline = monotonic() + seconds
    length = int.from_bytes(_exactly(connection, _HEADER, deadline), "big")
    if length > limit:
        raise WireError(f"a message of {length} bytes")
    return _exactly(connection, length, deadline, seconds if is_long else 0.0)


def _exactly(
    connection: _socket.socket, size: int, deadline: float, more_each: float = 0.0
) -> bytes:
    parts, missing = [], size
    while missing:
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError("it came too late")
        connection.settimeout(left)
        part = connection.recv(min(missing, 1 << 16))
        if not part:
            raise WireError(f"the other side hung up after {size - missing} of {size} bytes")
        parts.append(part)
        missing -= len(part)
        if more_each:
            deadline = monotonic() + more_each
    return b"".join(parts)
