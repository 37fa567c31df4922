"""Multi-callables that are not grpcio's: those of agents that have their own channel class.

Such a multi-callable may put a generator around a call, as interceptors do
(_proxies/sync/intercepted.py). It is found by its base classes. Only classes that are attributes
of a module are patched: they are few, and live as long as the process.
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
    """Patch the classes that exist now, and those that were patched before."""
    for patch in tuple(_patches.values()):
        patch.apply()
    look_for_more()


def remove() -> None:
    """Take back all patches, except those on top of which other code has put one."""
    for patch in tuple(_patches.values()):
        patch.remove()


@never_disturbs("the multi-callables of an agent are not guarded")
def look_for_more() -> None:
    """Patch classes that are new since then; any number of threads may call it."""
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
    """Return `plain`, which makes a multi-callable: an agent's may be put around that."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current_mode() is not Mode.OFF:
            look_for_more()
        return plain(self, *args, **kwargs)

    return method


def _is_of_others(kind: type) -> bool:
    if type(kind).__hash__ is not type.__hash__:  # a table of classes would run the program's hash
        return False
    if kind.__module__.startswith(("grpc.", "grpc_guard.")) or "__call__" not in vars(kind):
        return False
    # Not by getattr(): a module's __getattr__ may import something, or raise its own error.
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
    """Return the name of its RPC if it is in grpcio's attribute, else the name of its class."""
    method = getattr(multi_callable, "_method", None)
    if isinstance(method, (str, bytes)):
        return name_of(method)
    return type(multi_callable).__qualname__
