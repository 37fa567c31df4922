"""Where the threads and records of handlers in flight are found."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import FrameType
from typing import TypeVar

from .._findings.stacks import outward
from .._findings.whose import is_of_grpc, is_of_grpcio

K = TypeVar("K")
V = TypeVar("V")


def serves(frame: FrameType) -> bool:
    """Tell whether a sync server handles an RPC on the thread at `frame`: an idle one is in no code of grpcio.

    Nor is a thread of the program on which an interceptor runs the handler: it is not the server's.
    """
    return any(map(is_of_grpcio, outward(frame)))


def serves_from_pool(frame: FrameType) -> bool:
    """Tell the same for a grpc.aio server: in its pool only the guard has frames, grpcio has none."""
    return any(map(is_of_grpc, outward(frame)))


def items_of(known: weakref.WeakKeyDictionary[K, V]) -> Iterator[tuple[K, V]]:
    """Yield the items of `known`, to which another thread may add meanwhile."""
    for reference in known.keyrefs():  # a list, made in one step
        key = reference()
        value = None if key is None else known.get(key)
        if key is not None and value is not None:
            yield key, value
