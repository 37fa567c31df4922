"""The bytes between the two sides of a request: each message after its length.

Sockets here are those of the C module, never those that gevent puts in their place: both sides
run in threads of their own.
"""

from __future__ import annotations

import _socket
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
    """Send the `parts` of a message, each within this many seconds; raises OSError."""
    connection.settimeout(seconds)
    length = sum(map(len, parts))
    for part in (length.to_bytes(_HEADER, "big"), *parts):  # apart: an answer has megabytes
        connection.sendall(part)


def receive(connection: _socket.socket, seconds: float, limit: int) -> bytes:
    """Receive a message of at most `limit` bytes within so many seconds; raises OSError."""
    deadline = monotonic() + seconds
    length = int.from_bytes(_exactly(connection, _HEADER, deadline), "big")
    if length > limit:
        raise WireError(f"a message of {length} bytes")
    return _exactly(connection, length, deadline)


def _exactly(connection: _socket.socket, size: int, deadline: float) -> bytes:
    parts = []
    while size:
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError("it came too late")
        connection.settimeout(left)
        part = connection.recv(min(size, 1 << 16))
        if not part:
            raise WireError("the other side hung up")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
