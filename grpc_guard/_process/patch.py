"""One patch: an attribute of grpcio, replaced and restored, even if other code patches it too."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from types import FunctionType
from typing import Any

from .._proxies.once import name_of, patched, start_once

Make = Callable[[Callable[..., Any]], Callable[..., Any]]

_LAYERS = 16  # remembered replacements of one attribute, made as other patches came and went


class Patch:
    """One attribute of grpcio, replaced while the guard is on."""

    def __init__(self, owner: Any, name: str, make: Make) -> None:
        self._owner = owner
        self._name = name
        self._make = make
        # What was found and what replaced it, the latest last: other patches come and go.
        self._layers: deque[tuple[Any, Any]] = deque(maxlen=_LAYERS)

    def apply(self) -> None:
        found = vars(self._owner)[self._name]
        if not any(found is replacement for _, replacement in self._layers):
            setattr(self._owner, self._name, self._replacement_of(found))
        if isinstance(self._owner, type):
            patched.add(self._owner)

    def _replacement_of(self, found: Any) -> Any:
        for original, replacement in self._layers:
            if original is found:
                return replacement
        plain = found
        if isinstance(self._owner, type):
            plain = as_function(found)
            if self._layers:  # other code has patched on top of ours
                plain = _starting_once(plain)
        replacement = functools.wraps(found)(self._make(plain))
        self._layers.append((found, replacement))
        return replacement

    def remove(self) -> None:
        found = vars(self._owner)[self._name]
        for original, replacement in self._layers:
            if found is replacement:
                setattr(self._owner, self._name, original)
        patched.discard(self._owner)


def as_function(found: Any) -> Callable[..., Any]:
    """Return a function that calls `found` as a method of its class: the instance comes first.

    `found` need not be a function: a wrapper of wrapt and a functools.partialmethod learn their
    instance from the descriptor protocol, a static method or a mock has none.
    """
    if type(found) is FunctionType:  # not isinstance(): wrapt's pass for one
        return found
    get = getattr(type(found), "__get__", None)

    def function(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = found if get is None else get(found, self, type(self))
        return method(*args, **kwargs)

    return function


def _starting_once(plain: Callable[..., Any]) -> Callable[..., Any]:
    def function(self: Any, *args: Any, **kwargs: Any) -> Any:
        rpc = getattr(self, "_method", None)
        return start_once(plain, None if rpc is None else name_of(rpc), self, *args, **kwargs)

    return function
