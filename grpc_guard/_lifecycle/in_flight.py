"""Where the threads and records of handlers in flight are found."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any, TypeVar

from .._catalogue.grpcio import SERVER_CONTEXT
from .._catalogue.heap import collected, held_by
from .._findings.stacks import outward
from .._findings.whose import is_of_grpc, is_of_grpcio

_WRAPPERS = 8  # interceptors' own contexts, one around the other

K = TypeVar("K")
V = TypeVar("V")


def serves(frame: FrameType) -> bool:
    """Tell whether a server has the thread at `frame` handle an RPC: an idle one is in no code of grpcio.

    A thread of the program's, to which an interceptor has handed the handler, is none of the server's.
    """
    return any(map(is_of_grpcio, outward(frame)))


def serves_from_pool(frame: FrameType) -> bool:
    """Tell the same of a thread in the pool of a grpc.aio server, where grpcio has no frames: the guard has."""
    return any(map(is_of_grpc, outward(frame)))


def context_of_grpc(context: object) -> Any:
    """Return grpcio's own context that `context`, an interceptor's, is around; None if that is not clear.

    What it holds tells, so that no code of the program runs: it may not expect to be asked.
    """
    for _ in range(_WRAPPERS):
        if type(context) is SERVER_CONTEXT:
            return context
        parts = held_by(context)
        held = {id(one): one for part in parts for one in (part, *collected(part))}
        found = [one for one in held.values() if type(one) is SERVER_CONTEXT]
        if not found:
            found = [one for one in held.values() if one is not context and _is_context(type(one))]
        if len(found) != 1:
            return None
        (context,) = found
    return None


def _is_context(kind: type) -> bool:
    return any("add_callback" in vars(base) for base in kind.__mro__)


def items_of(known: weakref.WeakKeyDictionary[K, V]) -> Iterator[tuple[K, V]]:
    """Yield the items of `known`, to which another thread may add meanwhile."""
    for reference in known.keyrefs():  # a list, made in one step
        key = reference()
        value = None if key is None else known.get(key)
        if key is not None and value is not None:
            yield key, value
