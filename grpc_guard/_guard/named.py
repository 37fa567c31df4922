"""What the code of an operation names: of an object that an interceptor of a server made.

An operation that keeps its callers apart names what it does so by: a lock of an object that it holds, a
function that takes one, or what does the work in its place. Code is only read, and of objects only what
they hold.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from types import (
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

from .._catalogue.grpcio import module_of
from .._catalogue.heap import held_by, mro_of, names_of
from .._findings.whose import LIBRARY, package_of, whose_file

_STEPS, _OBJECTS = 6, 200  # from one name to the next, and what is looked at in all
_WRAPPERS = 20  # one around the other
_IMPLIED = ("__call__", "__enter__", "__aenter__")  # run where no code names them
_MAKES = ("__init__", *_IMPLIED)  # of a class


class Named:
    """The names in the code of `steps`, and the objects that they stand for.

    That of the functions among these is read as well, and of the other objects the attributes are
    looked at that are named. What is of another package than the first of the steps is left alone.
    """

    def __init__(self, *steps: Callable[..., Any]) -> None:
        self.names: list[str] = []  # each once
        self.objects: list[Any] = []
        first = next((function.__code__ for function in _functions_of(steps[0])), None)
        if first is None:
            return
        self._package = _package_of_file(first.co_filename)
        owners = {id(step.__self__) for step in steps if type(step) is MethodType}
        known: set[int] = set()
        looked_at: list[tuple[Any, int]] = []  # with how many of the names
        new: list[Any] = list(steps)
        for _ in range(_STEPS):
            found = {id(one): one for one in new if id(one) not in known}
            new = list(found.values())[: _OBJECTS - len(known)]
            if not new:
                break
            known.update(found)
            self.objects += new
            own = [one for one in new if _package_of(one) == self._package]
            looked_at += [(one, 0) for one in own]
            new = [held for one in new for held in self._read(one)]
            for one in own:
                if id(one) not in owners:
                    new += _attributes(one, _MAKES if issubclass(type(one), type) else _IMPLIED)
            new += [
                held for one, count in looked_at for held in _attributes(one, self.names[count:])
            ]
            looked_at = [(one, len(self.names)) for one, _ in looked_at]

    def _read(self, one: Any) -> Iterator[Any]:
        """Note the names in the code of what is a function or method; yield what it has at hand."""
        for function in _functions_of(one):
            code = function.__code__
            if _package_of_file(code.co_filename) == self._package:
                names = dict.fromkeys(_names_in(code))
                self.names += [name for name in names if name not in self.names]
                known = function.__globals__
                yield from (known[name] for name in names if name in known)
                yield from held_by(*function.__closure__ or ())
        if type(one) is MethodType:
            yield one.__self__


def _attributes(one: Any, names: Iterable[str]) -> Iterator[Any]:
    """Yield the attributes of an object, which is not asked for them: a class may answer by code."""
    is_class = issubclass(type(one), type)
    own = None if is_class else _found("__dict__", type(one))
    held = own.__get__(one) if type(own) is GetSetDescriptorType else {}
    for name in names:
        value = _found(name, one if is_class else type(one))
        if type(value) is MemberDescriptorType and not is_class:
            yield from _of_slot(value, one)
        else:
            yield from (each for each in (dict.get(held, name), value) if each is not None)


def _found(name: str, kind: type) -> Any:
    return next((names[name] for names in map(names_of, mro_of(kind)) if name in names), None)


def _of_slot(slot: MemberDescriptorType, one: Any) -> Iterator[Any]:
    try:
        yield slot.__get__(one)
    except AttributeError:  # it is empty
        return


def _functions_of(one: Any) -> Iterator[FunctionType]:
    """Yield the function that runs where `one` is called or asked for, and those that it wraps."""
    kind = type(one)
    if kind is MethodType or kind is staticmethod or kind is classmethod:
        one = one.__func__
    elif kind is property:
        one = one.fget
    elif kind is functools.partial:
        one = one.func
    for _ in range(_WRAPPERS):  # a function may be said to wrap itself
        if type(one) is not FunctionType:
            return
        yield one
        one = dict.get(one.__dict__, "__wrapped__")


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if type(inner) is CodeType:
            yield from _names_in(inner)


def _package_of(one: Any) -> object:
    """Return what _package_of_file() does of the module that `one`, or its class, is of."""
    kind = one if issubclass(type(one), type) else type(one)
    module = one if type(one) is ModuleType else sys.modules.get(module_of(kind))
    file = vars(module).get("__file__") if type(module) is ModuleType else None
    return _package_of_file(file) if type(file) is str else None


def _package_of_file(file: str) -> object:
    whose = whose_file(file)
    return package_of(file) if whose is LIBRARY else whose
