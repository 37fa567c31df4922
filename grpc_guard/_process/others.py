"""Multi-callables that are not grpcio's: those of an agent with a channel class of its own.

Such a one may put a generator around a call, as interceptors do (_proxies/sync/intercepted.py),
and is found by what it derives from. Only classes that a module holds are patched: they are few,
and stay as long as the process does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import grpc

from .._catalogue.boundary import never_disturbs
from .._catalogue.modes import Mode, current_mode
from .._proxies.once import name_of, starting
from .._proxies.sync.intercepted import start_intercepted
from .patch import Patch

_KINDS: tuple[Any, ...] = (grpc.UnaryStreamMultiCallable, grpc.StreamStreamMultiCallable)

_patches: dict[Any, Patch] = {}


def apply() -> None:
    """Patch the classes that there are, and those which were patched before."""
    for patch in tuple(_patches.values()):
        patch.apply()
    look_for_more()


def remove() -> None:
    """Take back all patches, except those on top of which other code has put one."""
    for patch in tuple(_patches.values()):
        patch.remove()


@never_disturbs("the multi-callables of an agent are not guarded")
def look_for_more() -> None:
    """Patch the classes that came since; may be called by any number of threads."""
    pending = list(_KINDS)
    for kind in pending:  # grows
        kinds = kind.__subclasses__()
        pending += kinds
        for found in kinds:
            if _is_of_others(found) and found not in _patches:
                patch = Patch(found, "__call__", _guarding)
                if _patches.setdefault(found, patch) is patch:  # not another thread's
                    patch.apply()


def looking(plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return what makes a multi-callable of grpcio: one of an agent's may be put around it."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current_mode() is not Mode.OFF:
            look_for_more()
        return plain(self, *args, **kwargs)

    return method


def _is_of_others(kind: type) -> bool:
    if type(kind).__hash__ is not type.__hash__:  # tables of classes would run the program's code
        return False
    if kind.__module__.startswith(("grpc.", "grpc_guard.")) or "__call__" not in vars(kind):
        return False
    # Not by getattr(): a module may answer that by an import, or by an error of its own.
    names = getattr(sys.modules.get(kind.__module__), "__dict__", {})
    return names.get(kind.__name__) is kind


def _guarding(plain: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        mode = current_mode()
        if mode is Mode.OFF:
            return plain(self, *args, **kwargs)
        rpc = _name_of(self)
        if starting.rpc == rpc:  # by a guard further out
            return plain(self, *args, **kwargs)
        return start_intercepted(self, functools.partial(plain, self), rpc, mode, *args, **kwargs)

    return method


def _name_of(multi_callable: Any) -> str:
    """Return the name of its RPC if it keeps that where grpcio does, else that of its class."""
    method = getattr(multi_callable, "_method", None)
    if isinstance(method, (str, bytes)):
        return name_of(method)
    return type(multi_callable).__qualname__
