"""Methods of objects of the program's own classes, as an interceptor's: absent, or taking more than gRPC's."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from .._catalogue.heap import mro_of, names_of
from .._core.advances import do_next
from .._core.steps import SyncDirection
from .faithful import Forward, Proxy

F = TypeVar("F", bound=Callable[..., Any])


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
    takes_any = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return bool(takes_any or code.co_kwonlyargcount or code.co_argcount != 1 + given)


def next_of_itself(direction: SyncDirection, own: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``next()`` of an object that does not do by it what gRPC's does: `own`, as an operation."""
    return functools.update_wrapper(
        functools.partial(do_next, direction, direction.prepared(own)), own
    )


def passes_on(method: F) -> F:
    """Have `method`, which passes all arguments on, show those of gRPC's alone.

    The program's own may take more.
    """
    shown = inspect.signature(method)
    named = [one for one in shown.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD]
    method.__signature__ = shown.replace(parameters=named)  # type: ignore[attr-defined]
    return method
