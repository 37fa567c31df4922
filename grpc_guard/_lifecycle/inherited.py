"""What a forked child inherits of its parent's grpc.aio, whose state belongs to the process.

One completion queue and one poller thread serve the whole process. While a channel or server of
the parent lives, a child has the queue, but no thread.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from .._catalogue import forks
from .._findings.origins import Origin


class Record(Protocol):
    """What is known about a channel or server."""

    @property
    def origin(self) -> Origin | None: ...


# The channels and servers of grpc.aio that exist, and in which process each was made.
_users: weakref.WeakKeyDictionary[object, tuple[int, Record]] = weakref.WeakKeyDictionary()


def uses_aio(user: Any, record: Record) -> None:
    """Note that `user`, a channel or server of grpc.aio, exists from now on; it is held weakly."""
    _users[user] = forks.generation, record


def aio_of_parent() -> Record | None:
    """Return the record of a parent's grpc.aio object that this forked child still has, or None."""
    for generation, record in tuple(_users.values()):
        if generation != forks.generation:
            return record
    return None
