"""What the code of an operation leads to, of an object that an interceptor of a server made.

The functions that it leads to are found by the names in it. Code is only read, and of objects only what
they hold is looked at: nothing of the program is asked, as that may run code of its own.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import (
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

from .._catalogue.cpython_code import Operations
from .._catalogue.grpcio import module_of
from .._catalogue.heap import collected, held_by, mro_of, names_of
from .._findings.whose import LIBRARY, package_of, whose_file

_FUNCTIONS = 60  # that are read
_OBJECTS, _STEPS = 200, 5  # that the names of each stand for, and from one name to the next
_COLLECTED = 50  # of each collection
_ENTERED = ("__enter__", "__aenter__")
_PARTIALS = (functools.partial, functools.partialmethod)

# By which code asks an iterator or a context.
_ASKS = frozenset({"next", "anext", "__next__", "__anext__", "read", "write"})
# By which code that has a lock waits until nobody else is inside, and notes that it is.
_AWAITS_TURN = frozenset({"wait", "wait_for"})


class Function:
    """A function that an operation leads to, and what its code names.

    ``asks`` tells whether it asks an iterator or a context, ``asks_here`` whether it does so where it
    runs, ``holds`` whether what it takes may be held on, and ``passes_on`` whether it holds nothing
    by a ``with`` while it asks, and has no function ask but those that do the same operation.
    """

    def __init__(self, use: _Use, package: object) -> None:
        code = use.value.__code__
        operations = Operations(code)
        self.names = operations.names
        self.named = _named(use, operations, package)
        self.asks = not self.names.isdisjoint(_ASKS) or operations.call_variable()
        self.asks_here = operations.call_here(_ASKS)
        generates = code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR)
        gives_back = operations.enters or {"acquire", "release"} <= self.names
        gives_back = gives_back and self.names.isdisjoint(_AWAITS_TURN)
        # What it takes may still be held when its caller goes on, or be taken by that.
        self.holds = use.is_entered or bool(generates) or not gives_back
        self.passes_on = not generates and operations.call_unheld(_ASKS)


class _Use(NamedTuple):
    """What code names, the object that has it as a method, and whether it runs as no call does."""

    value: Any
    holder: Any
    is_entered: bool = False


class Functions(NamedTuple):
    """Those that run as an operation, and all of the same package to which they lead; the first are among them.

    ``is_whole`` tells whether the operation was read to its end: all of it is in Python, and of one package.
    """

    first: list[Function]
    every: list[Function]
    is_whole: bool


def functions_of(*steps: Callable[..., Any]) -> Functions:
    """Return the functions that run as `steps`, and those to which they lead.

    ``asks`` is true of a function, too, that leads to one that asks.
    """
    of_steps = [list(_functions_in(_Use(step, None))) for step in steps]
    new = [use for uses in of_steps for use in uses]
    package = _package_of_file(new[0].value.__code__.co_filename) if new else None
    first = [_key(use) for use in new]
    read: dict[_Key, Function] = {}
    led_to: dict[_Key, list[_Key]] = {}
    for use in new:  # which grows
        key = _key(use)
        if key in read or len(read) == _FUNCTIONS:
            continue
        if _package_of_file(use.value.__code__.co_filename) == package:
            function = read[key] = Function(use, package)
            found = [inner for named in function.named for inner in _functions_in(named)]
            led_to[key] = list(map(_key, found))
            new += found
    for _ in range(_STEPS):
        for key, function in read.items():
            function.asks |= any(inner in read and read[inner].asks for inner in led_to[key])
    for key in {*first} & read.keys():
        others = (inner for inner in led_to[key] if inner in read and inner not in first)
        read[key].passes_on &= not any(read[inner].asks for inner in others)
    is_whole = all(of_steps) and all(key in read for key in first)
    return Functions([read[key] for key in first if key in read], list(read.values()), is_whole)


_Key = tuple[int, int]  # ids, while the uses are kept


def _key(use: _Use) -> _Key:
    return id(use.value), id(use.holder)


def _named(use: _Use, operations: Operations, package: object) -> list[_Use]:
    """Return what a function has by a name, and the attributes of that which it names as well."""
    function, holder = use.value, use.holder
    of_module = (dict.get(function.__globals__, name) for name in operations.globals)
    given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    level = [_Use(one, None) for one in (holder, *of_module, *given)]
    # A decorated function is in the closure of the other, and a method of the same object.
    level += [_Use(one, holder) for one in held_by(*function.__closure__ or ())]
    found: dict[int, _Use] = {}
    for _ in range(_STEPS):
        fresh: dict[int, _Use] = {}
        for one in level:  # a method is first met as that of its object
            if id(one.value) not in found:
                fresh.setdefault(id(one.value), one)
        found.update(fresh)
        if len(found) > _OBJECTS:
            break
        level = []
        for one in fresh.values():
            level += _attributes(one.value, operations.names, package, holder)
    return list(found.values())


def _attributes(one: Any, names: Iterable[str], package: object, owner: Any) -> Iterator[_Use]:
    """Yield the named attributes of an object of `package`, or what a collection holds."""
    is_partial = any(type(one) is kind for kind in _PARTIALS)
    given = (*one.args, *one.keywords.values()) if is_partial else collected(one)
    yield from (_Use(held, None) for held in islice(given, _COLLECTED))
    if _package_of(one) != package:
        return
    is_class = issubclass(type(one), type)
    bases = mro_of(one if is_class else type(one))
    described = None if is_class else _first("__dict__", bases)
    held = described.__get__(one) if type(described) is GetSetDescriptorType else {}
    implied = ("__call__", *_ENTERED, *(("__init__",) if is_class else ()))  # by no name
    for name in (*names, *(() if one is owner else implied)):
        if (value := dict.get(held, name)) is not None:
            yield _Use(value, None)
        definitions = (names_of(base)[name] for base in bases if name in names_of(base))
        # With super(), each may run.
        for value in definitions if "super" in names else islice(definitions, 1):
            if type(value) is MemberDescriptorType and not is_class:
                yield from _of_slot(value, one)
            else:
                yield _Use(value, None if is_class else one, name in _ENTERED)


def _first(name: str, bases: Iterable[type]) -> Any:
    return next((names_of(base)[name] for base in bases if name in names_of(base)), None)


def _of_slot(slot: MemberDescriptorType, one: Any) -> Iterator[_Use]:
    try:
        yield _Use(slot.__get__(one), None)
    except AttributeError:  # it is empty
        return


def _functions_in(use: _Use) -> Iterator[_Use]:
    """Yield the functions that run where what is used is called or asked for: it may wrap some."""
    uses, seen = [use], set[int]()
    for one in uses:  # which grows
        value = one.value
        if id(value) in seen or len(seen) == _OBJECTS:  # a function may be said to wrap itself
            continue
        seen.add(id(value))
        kind = type(value)
        inner: tuple[Any, ...] = ()
        if kind is FunctionType:
            yield one
            inner = (dict.get(value.__dict__, "__wrapped__"),)
        elif kind is MethodType:
            one, inner = one._replace(holder=value.__self__), (value.__func__,)
        elif kind is staticmethod or kind is classmethod:
            inner = (value.__func__,)
        elif kind is property:
            one, inner = one._replace(is_entered=True), (value.fget,)
        elif any(kind is each for each in _PARTIALS):
            inner = (value.func, *value.args)
        elif kind is functools.cached_property or kind is functools.singledispatchmethod:
            inner = (value.func,)
        uses += [one._replace(value=each) for each in inner]


def _package_of(one: Any) -> object:
    """Return what _package_of_file() does of the module that `one`, or its class, is of."""
    kind = one if issubclass(type(one), type) else type(one)
    module = one if type(one) is ModuleType else sys.modules.get(module_of(kind))
    file = vars(module).get("__file__") if type(module) is ModuleType else None
    return _package_of_file(file) if type(file) is str else None


def _package_of_file(file: str) -> object:
    whose = whose_file(file)
    return package_of(file) if whose is LIBRARY else whose
