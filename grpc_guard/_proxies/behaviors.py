"""Guarded handler functions: real functions, of the kind of those that they stand for.

gRPC asks a handler function for its kind and for attributes, for each RPC. Of a proxy it gets
the answers in microseconds, most of them for what is not there. A function or a method, which is what nearly all handlers
are, is therefore replaced by another one; any other callable by a proxy.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Protocol

import wrapt

from .._catalogue.cpython import in_place_of
from .._catalogue.modes import ChooseMode


class Handle(Protocol):
    """Does a handler function, `behavior`, with what it was called with."""

    def __call__(self, behavior: Any, args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any: ...


class _Proxy(wrapt.FunctionWrapper):
    """A guarded handler that is no function: a partial, an object that can be called."""

    _self_choose: ChooseMode


# The guarded functions, and who chose the mode of each. By the function itself and by no
# attribute of it: functools.wraps() would copy that to a function of the program's.
_choices: weakref.WeakKeyDictionary[Callable[..., Any], ChooseMode] = weakref.WeakKeyDictionary()


def guarded_behavior(behavior: Any, choose: ChooseMode, handle: Handle) -> Any:
    """Return what takes the place of the handler function `behavior`: each call is one of `handle`."""
    if type(behavior) is FunctionType:
        return _function(behavior, choose, handle)
    if type(behavior) is MethodType and type(behavior.__func__) is FunctionType:
        return MethodType(_method(behavior.__func__, choose, handle), behavior.__self__)
    proxy = _Proxy(behavior, lambda plain, instance, args, kwargs: handle(plain, args, kwargs))
    proxy._self_choose = choose
    return proxy


def choice_of(behavior: Any) -> ChooseMode | None:
    """Return what chooses the mode of a guarded handler function; None of any other."""
    if issubclass(type(behavior), _Proxy):
        chosen: ChooseMode = behavior._self_choose
        return chosen
    function = behavior.__func__ if type(behavior) is MethodType else behavior
    return _choices.get(function) if type(function) is FunctionType else None


def plain_behavior(behavior: Any) -> Any:
    """Return the handler function in place of which there is `behavior`, a guarded one."""
    plain = behavior.__wrapped__
    return MethodType(plain, behavior.__self__) if type(behavior) is MethodType else plain


def _function(plain: FunctionType, choose: ChooseMode, handle: Handle) -> Any:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return handle(plain, args, kwargs)

    return _in_place_of(plain, guarded, choose)


def _method(plain: FunctionType, choose: ChooseMode, handle: Handle) -> Any:
    def guarded(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
        return handle(MethodType(plain, instance), args, kwargs)

    return _in_place_of(plain, guarded, choose)


def _in_place_of(plain: FunctionType, guarded: Any, choose: ChooseMode) -> Any:
    guarded = in_place_of(plain, guarded)
    _choices[guarded] = choose
    return guarded
