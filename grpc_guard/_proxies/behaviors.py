"""Guarded handler functions: functions of the same kind as those that they replace.

For each RPC, gRPC asks a handler function for its kind and for attributes. A proxy takes
microseconds to answer, most of them for attributes that do not exist. So a function or method, as
nearly all handlers are, is replaced by another function, and any other callable by a proxy.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, Protocol

import wrapt

from .._catalogue.cpython import in_place_of
from .._catalogue.modes import ChooseMode
from .._core import which
from .faithful import Proxy


class Replace(Protocol):
    """Returns a new function that does what the handler function `plain` does, and guards it.

    Its arguments are those of `plain`; the request is the one at index `first`, 1 for a method.
    """

    def __call__(self, plain: Callable[..., Any], first: int, /) -> Any: ...


class _Proxy(Proxy):
    """A guarded handler that is not a function: a partial, or another callable object."""

    __slots__ = ("_self_act", "_self_choose")

    def __init__(self, behavior: Any, act: Callable[..., Any], choose: ChooseMode) -> None:
        super().__init__(behavior)
        self._self_act = act
        self._self_choose = choose

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._self_act(*args, **kwargs)


_wrapt: Any = wrapt  # its types are of the functions that it wraps


class _Wrapper:
    """What the guarded wrappers of wrapt have in common."""

    __slots__ = ()

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._self_act(*args, **kwargs)

    def __repr__(self: Any) -> str:
        return repr(self.__wrapped__)


class _FunctionWrapper(_Wrapper, _wrapt.FunctionWrapper):  # type: ignore[misc]
    """The same in place of a wrapper of wrapt, whose kind only the class of an object tells."""

    def __init__(self, behavior: Any, act: Callable[..., Any], choose: ChooseMode) -> None:
        super().__init__(behavior, behavior._self_wrapper, behavior._self_enabled)
        self._self_act = act
        self._self_choose = choose


class _BoundFunctionWrapper(_Wrapper, _wrapt.BoundFunctionWrapper):  # type: ignore[misc]
    """The same in place of a wrapped method."""

    def __init__(self, behavior: Any, act: Callable[..., Any], choose: ChooseMode) -> None:
        of = behavior
        given = of._self_instance, of._self_wrapper, of._self_enabled, of._self_binding
        super().__init__(of, *given, of._self_parent, of._self_owner)
        self._self_act = act
        self._self_choose = choose


_OF_WRAPT = (
    (_wrapt.FunctionWrapper, _FunctionWrapper),
    (_wrapt.BoundFunctionWrapper, _BoundFunctionWrapper),
)
_PROXIES = (_Proxy, _FunctionWrapper, _BoundFunctionWrapper)

# The guarded functions, and what chooses the mode of each. Keyed by the function, and not an
# attribute of it: functools.wraps() would copy that to a function of the program.
_choices: weakref.WeakKeyDictionary[Callable[..., Any], ChooseMode] = weakref.WeakKeyDictionary()


class _Builtins(str):
    """The ``__module__`` of the type of functions in C, which have one each, as those in Python."""

    __slots__ = ("_of_function",)

    def __get__(self, function: Any, owner: type | None = None) -> Any:
        return str(self) if function is None else self._of_function.__get__(function)

    def __set__(self, function: Any, module: Any) -> None:
        self._of_function.__set__(function, module)

    def __delete__(self, function: Any) -> None:
        self._of_function.__delete__(function)

    @classmethod
    def name_module_of(cls, kind: Any) -> None:
        """Have type `kind` name the module of Python's own functions, and not a descriptor."""
        text = cls(FunctionType.__module__)
        text._of_function = vars(kind)["__module__"]
        kind.__module__ = text

    _of_function: Any


_compiled = which.compiled()
if _compiled is not None:
    _Builtins.name_module_of(_compiled.Handling)
_FUNCTIONS = (FunctionType,) if _compiled is None else (FunctionType, _compiled.Handling)


def guarded_behavior(behavior: Any, choose: ChooseMode, replace: Replace) -> Any:
    """Return the replacement of the handler function `behavior`, made by `replace`."""
    if type(behavior) is FunctionType:
        return _in_place_of(behavior, replace(behavior, 0), choose)
    if type(behavior) is MethodType and type(behavior.__func__) is FunctionType:
        function = behavior.__func__
        return MethodType(_in_place_of(function, replace(function, 1), choose), behavior.__self__)
    for kind, proxy in _OF_WRAPT:
        if issubclass(type(behavior), kind):
            return proxy(behavior, replace(behavior, 0), choose)
    return _Proxy(behavior, replace(behavior, 0), choose)


def choice_of(behavior: Any) -> ChooseMode | None:
    """Return what chooses the mode of a guarded handler function; None for any other."""
    if issubclass(type(behavior), _PROXIES):
        chosen: ChooseMode = behavior._self_choose
        return chosen
    function = behavior.__func__ if type(behavior) is MethodType else behavior
    return _choices.get(function) if any(type(function) is kind for kind in _FUNCTIONS) else None


def plain_behavior(behavior: Any) -> Any:
    """Return the handler function that the guarded `behavior` replaces."""
    plain = behavior.__wrapped__
    return MethodType(plain, behavior.__self__) if type(behavior) is MethodType else plain


def function_of(plain: Any) -> Any:
    """Return the function that the callable object `plain` calls, if that can be known; or None."""
    while isinstance(plain, functools.partial):
        plain = plain.func
    function = getattr(plain, "__func__", plain)
    return function if type(function) is FunctionType else None


def takes_what_grpc_gives(plain: Any, first: int) -> bool:
    """Tell whether the handler `plain` takes the arguments that gRPC gives; True if that is unknown.

    Its own code tells: a decorator may have given it the signature of a function that takes more.
    """
    given: list[Any] = [None] * (first + 2)
    names: dict[str, Any] = {}
    while isinstance(plain, functools.partial):
        given, names = [*plain.args, *given], {**plain.keywords, **names}
        plain = plain.func
    if type(plain) is MethodType:
        given, plain = [plain.__self__, *given], plain.__func__
    if type(plain) is not FunctionType:
        return True
    bare = FunctionType(plain.__code__, {}, "", plain.__defaults__, plain.__closure__)
    bare.__kwdefaults__ = plain.__kwdefaults__
    try:
        inspect.signature(bare).bind(*given, **names)
    except TypeError:
        return False
    return True


def called_as(plain: Any, function: Any) -> Any:
    """Return what does the same as `function`, and whose coroutines have the name of `plain`."""
    named = FunctionType(function.__code__, function.__globals__)
    named.__kwdefaults__ = function.__kwdefaults__
    of = function_of(plain) or plain
    for attribute in ("__name__", "__qualname__"):
        name = getattr(of, attribute, None)
        if isinstance(name, str):
            setattr(named, attribute, name)
    return named


def _in_place_of(plain: FunctionType, guarded: Any, choose: ChooseMode) -> Any:
    if type(guarded) is FunctionType:
        guarded = in_place_of(plain, guarded)
    _choices[guarded] = choose
    return guarded
