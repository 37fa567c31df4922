"""One guard for each start of an RPC: of two, only the outer one acts.

A guard from wrap(), with its own mode, is outside the process-wide one, whether or not another
library's patch or interceptors are between them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from .._catalogue.modes import Mode, current_mode

patched: set[type] = set()  # classes of grpcio that the process-wide guard has patched now


class _Starting(threading.local):
    """The RPC that this thread is starting and that is guarded already."""

    rpc: str | None = None


starting = _Starting()


def name_of(rpc: str | bytes) -> str:
    """Return the name of an RPC, which some multi-callables of grpcio keep as bytes."""
    return rpc.decode() if isinstance(rpc, bytes) else rpc


def start_once(start: Callable[..., Any], rpc: str | None, /, *args: Any, **kwargs: Any) -> Any:
    """Call `start`, which starts `rpc`; guards further in let it through."""
    before = starting.rpc
    starting.rpc = rpc
    try:
        return start(*args, **kwargs)
    finally:
        starting.rpc = before


def unguarded(obj: object, name: str, rpc: str) -> Callable[..., Any]:
    """Return method `name` of `obj`, a multi-callable of `rpc`, without the process-wide guard.

    Other patches on top of it, or below, are called as before.
    """
    bound: Callable[..., Any] = getattr(obj, name)
    if current_mode() is Mode.OFF:
        return bound
    return functools.partial(start_once, bound, rpc)
