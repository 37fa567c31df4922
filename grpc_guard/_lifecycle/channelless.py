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
    """A weak reference to the call of such a stream."""

    __slots__ = ("key",)

    key: int


# By the identity of the call. Two tables: thousands of records are listed in one step.
_streams: dict[int, Stream] = {}
_calls: dict[int, _Call] = {}

# Finalisers use no globals: at the end of the interpreter those are gone before the channels
# and calls.


def _forget(
    call: Any, streams: dict[int, Stream] = _streams, calls: dict[int, _Call] = _calls
) -> None:
    streams.pop(call.key, None)
    calls.pop(call.key, None)


def keep_record(
    stream: Stream,
    streams: dict[int, Stream] = _streams,
    calls: dict[int, _Call] = _calls,
    kind: type[_Call] = _Call,
    forget: Callable[[Any], None] = _forget,
    aio: Api = AIO,
) -> None:
    """Keep the record of `stream`, whose channel has died, if the stream is known to continue.

    Made for finalisers: takes no lock.
    """
    call = stream.call()
    if call is not None and stream.api == aio and stream.is_open():
        reference = kind(call, forget)
        reference.key = key = id(call)
        streams[key] = stream
        calls[key] = reference


def channelless_streams(*, is_sorted_out: bool = True) -> list[Stream]:
    """Return the streams of this process that continue without their channel.

    And those that have ended, unless it `is_sorted_out`: that takes a call for each.
    """
    found = list(_streams.values())
    return [stream for stream in found if stream.is_open()] if is_sorted_out else found


def _start_again() -> None:
    _streams.clear()
    _calls.clear()


in_child(_start_again)
