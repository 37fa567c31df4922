"""The records of handlers in flight: what each handles, and since when."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from time import monotonic
from types import FrameType
from typing import TypeVar

from .._core.stream import Stream
from .._findings.stacks import outward
from .._findings.whose import is_of_grpc

K = TypeVar("K")
V = TypeVar("V")


class Entry:
    """A streaming handler in flight: its stream, and since when."""

    __slots__ = ("since", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = weakref.ref(stream)
        self.since = monotonic()


class UnaryEntry:
    """A unary handler in flight: entry and stream in one record."""

    __slots__ = ("ended", "is_gone", "rpc", "since")

    write = None  # as of a stream that writes nothing

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self.ended = False
        self.is_gone = False  # whether the RPC is over
        self.since = monotonic()

    def stream(self) -> UnaryEntry:
        return self

    def is_over(self) -> bool:
        return self.is_gone


def serves(frame: FrameType) -> bool:
    """Tell whether the thread at `frame` is inside a handler: an idle one is in no code of gRPC."""
    return any(is_of_grpc(outer) for outer in outward(frame))


def items_of(known: weakref.WeakKeyDictionary[K, V]) -> Iterator[tuple[K, V]]:
    """Yield the items of `known`, to which another thread may add meanwhile."""
    for reference in known.keyrefs():  # a list, made in one step
        key = reference()
        value = None if key is None else known.get(key)
        if key is not None and value is not None:
            yield key, value
