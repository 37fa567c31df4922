"""Where the threads and records of handlers in flight are found."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import FrameType
from typing import TypeVar

from .._findings.stacks import outward
from .._findings.whose import is_of_grpc

K = TypeVar("K")
V = TypeVar("V")


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
