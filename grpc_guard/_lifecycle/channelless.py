"""Streams that continue after their channel was dropped, as those of grpc.aio do.

The record of such a stream is kept as long as its call, which is held weakly. Sync calls are not
among them: grpcio keeps the channel while the RPC lives, or ends the RPC together with it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from .._catalogue.forks import in_child
from .._catalogue.nouns import AIO, Api
from .._core.stream import Stream


class _Call(weakref.ref[Any]):
    """A weak reference to the call of such a stream; it equals no other, whatever calls compare."""

    __slots__ = ()

    __hash__ = object.__hash__
    __eq__ = object.__eq__


# A table of plain records: thousands are listed in one step.
_streams: dict[_Call, Stream] = {}

# Finalisers use no globals: at the end of the interpreter those are gone before the channels
# and calls.


def _forget(call: Any, streams: dict[_Call, Stream] = _streams) -> None:
    streams.pop(call, None)


def keep_record(
    stream: Stream,
    streams: dict[_Call, Stream] = _streams,
    kind: type[_Call] = _Call,
    forget: Callable[[Any], None] = _forget,
    aio: Api = AIO,
) -> None:
    """Keep the record of `stream`, whose channel has died, if the stream is known to continue.

    Made for finalisers: takes no lock.
    """
    call = stream.call()
    if call is not None and stream.api == aio and stream.is_open():
        streams[kind(call, forget)] = stream


def channelless_streams(*, is_sorted_out: bool = True) -> list[Stream]:
    """Return the streams of this process that continue without their channel.

    And those that have ended, unless it `is_sorted_out`: that takes a call for each.
    """
    found = list(_streams.values())
    return [stream for stream in found if stream.is_open()] if is_sorted_out else found


in_child(_streams.clear)
