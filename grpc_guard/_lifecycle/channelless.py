"""Streams that go on though their channel was dropped, as those of grpc.aio do.

The record of such a stream stays for as long as its call, which is held weakly. A sync call
is no orphan: while its RPC lives grpcio keeps the channel, or else it ends the RPC with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from .._catalogue.forks import in_child
from .._core.stream import Stream


class _Orphan(weakref.ref[Any]):
    """A weak reference to the call of an orphan, with its record."""

    __slots__ = ("key", "stream")

    key: int
    stream: Stream


_orphans: dict[int, _Orphan] = {}  # by the identity of the call

# No globals in what finalisers run: at the end of the interpreter they are gone before the
# channels and calls are.


def _bury(orphan: Any, orphans: dict[int, _Orphan] = _orphans) -> None:
    orphans.pop(orphan.key, None)


def adopt(
    stream: Stream,
    orphans: dict[int, _Orphan] = _orphans,
    kind: type[_Orphan] = _Orphan,
    bury: Callable[[Any], None] = _bury,
) -> None:
    """Keep the record of `stream`, whose channel has died, if it is known to go on.

    Made for finalisers: takes no lock.
    """
    call = stream.call()
    if call is not None and stream.api == "aio" and stream.is_open():
        orphan = kind(call, bury)
        orphan.key, orphan.stream = id(call), stream
        orphans[orphan.key] = orphan


def orphans() -> list[Stream]:
    """Return the streams of this process that go on without their channel."""
    return [orphan.stream for orphan in tuple(_orphans.values()) if orphan.stream.is_open()]


in_child(_orphans.clear)
