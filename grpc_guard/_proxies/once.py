"""One guard for one start of an RPC: where two would meet, the outer one is it.

A guard put on by hand, with a mode of its own, lies above the process-wide one, whether
another library's patch or interceptors lie between them or not.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from .._catalogue.modes import Mode, current_mode

patched: set[type] = set()  # classes of grpcio that the process-wide guard has patched now


class _Starting(threading.local):
    """The RPC that this thread starts and that is guarded already."""

    rpc: str | None = None


starting = _Starting()


def name_of(rpc: str | bytes) -> str:
    """Return the name of an RPC, which some multi-callables of grpcio keep as bytes."""
    return rpc.decode() if isinstance(rpc, bytes) else rpc


def start_once(start: Callable[..., Any], rpc: str | None, *args: Any, **kwargs: Any) -> Any:
    """Call `start`, which starts `rpc`; whatever guards starts further in lets it through."""
    before = starting.rpc
    starting.rpc = rpc
    try:
        return start(*args, **kwargs)
    finally:
        starting.rpc = before


def unguarded(obj: object, name: str, rpc: str) -> Callable[..., Any]:
    """Return method `name` of `obj`, a multi-callable of `rpc`, without the process-wide guard.

    What others have patched on top of it, or below, is called as ever.
    """
    bound: Callable[..., Any] = getattr(obj, name)
    if current_mode() is Mode.OFF:
        return bound
    return functools.partial(start_once, bound, rpc)
