"""Methods of objects of the program's own classes, as an interceptor's: absent, or taking more than gRPC's."""

from __future__ import annotations

import functools
from _thread import get_ident
from collections.abc import Callable
from inspect import CO_VARARGS, CO_VARKEYWORDS
from types import FunctionType
from typing import Any

from .._catalogue.clock import monotonic
from .._catalogue.heap import mro_of, names_of
from .._catalogue.nouns import SERVER
from .._core.conflicts import contended
from .._core.operations import operation
from .._core.steps import SyncDirection
from .._guard.violations import used_after_end
from .faithful import Forward, Proxy


class IfThere:
    """An attribute of a proxy that is there if the wrapped object has one of its name.

    Its class has none.
    """

    __slots__ = ("_name", "_value")

    def __init__(self, name: str, value: Any) -> None:
        self._name = name
        self._value = value

    def __get__(self, proxy: Any, owner: Any) -> Any:
        getattr(owner._self_type() if proxy is None else proxy.__wrapped__, self._name)
        return self._value.__get__(proxy, owner)


def if_there(kind: type, plain: type) -> dict[str, Any]:
    """Return those attributes of proxies of `kind` which the class `plain` of what they wrap lacks.

    Its objects may have them nevertheless, as those that pass on what they are asked for.
    """
    offered = {name for base in mro_of(plain) for name in names_of(base)}
    found: dict[str, Any] = {}
    above = mro_of(kind)
    for base in above[: above.index(Proxy)]:
        for name, value in vars(base).items():
            if name[:1] != "_" and name not in offered and type(value) is not Forward:
                found.setdefault(name, IfThere(name, value))
    return found


def takes_more(plain: type, name: str, given: int) -> bool:
    """Tell whether method `name` of a class may take more arguments than so many that are given to gRPC's."""
    method = next((names_of(base)[name] for base in mro_of(plain) if name in names_of(base)), None)
    if type(method) is not FunctionType:
        return False
    code = method.__code__
    takes_any = code.co_flags & (CO_VARARGS | CO_VARKEYWORDS)
    return bool(takes_any or code.co_kwonlyargcount or code.co_argcount != 1 + given)


@operation("next")
def _next(direction: Any, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if direction.stream.side == SERVER and direction.stream.ended:
        used_after_end(direction.stream, "next")
    try:
        del direction.free
    except AttributeError:
        pass
    else:
        try:
            direction.owner = get_ident()
            direction.since = monotonic()
            return direction.prepared(own)(*args, **kwargs)
        finally:
            direction.free = True
    step = direction.prepared(own)
    step = functools.partial(step, **kwargs) if kwargs else step
    return contended(direction, "next", step, *args)


def next_of_itself(direction: SyncDirection, own: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``next()`` of an object that does not do by it what gRPC's does: `own`, as an operation."""
    return functools.update_wrapper(functools.partial(_next, direction, own), own)
