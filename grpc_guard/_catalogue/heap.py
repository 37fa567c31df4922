"""The live objects of this process, by type, and what they hold; other threads are not disturbed.

``tuple(iterator)`` in another thread raises SystemError at its end if other code holds the
tuple that it is building, and gc.get_objects() returns that tuple as well. So no object except
those asked for may be held while another thread can run.
"""

from __future__ import annotations

import gc
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, compress, repeat, tee
from types import FrameType, FunctionType, ModuleType
from typing import Any

from .collector import collector_at_rest

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE, of type.__flags__


def instances(kinds: Iterable[type]) -> list[Any]:
    """Return the objects of exactly these types: a subclass must be named as well.

    Objects that the garbage collector does not track are not among them. It takes some 10 ms for
    each 100,000 objects of the process, during which no other thread runs.
    """
    wanted = list(kinds)
    ids = frozenset(map(id, wanted))  # a metaclass may refuse to hash a class, or do anything
    if all(map(_is_of_python, wanted)):
        # An object of such a class refers to it.
        return [one for one in gc.get_referrers(*wanted) if id(type(one)) in ids] if wanted else []
    with collector_at_rest():  # a collection would run finalisers in the middle
        return _walked(ids.__contains__)


def held_by(*objects: object) -> list[Any]:
    """Return what `objects` hold, as the collector sees it; of modules, nothing.

    Up to CPython 3.12.5 the module ``_asyncio`` shows the collector objects that it has freed. A
    list of them frees them once more: python/cpython issue 122695.
    """
    if any(map(issubclass, map(type, objects), repeat(ModuleType))):
        objects = tuple(one for one in objects if not issubclass(type(one), ModuleType))
    return gc.get_referents(*objects)


def led_to(one: object) -> Iterable[object]:
    """Return what an object holds, but for the code of the program, which holds everything."""
    if type(one) is FunctionType:
        return one.__closure__ or ()
    if issubclass(type(one), (type, FrameType)):
        return ()
    return held_by(one)


def collected(one: object) -> Iterable[object]:
    """Return what a collection of Python's own holds; of all other objects, nothing."""
    return held_by(one) if issubclass(type(one), _COLLECTIONS) else ()


_COLLECTIONS = (dict, list, tuple, set)


# What a class has, which its metaclass is not asked for: the classes above it, and its own names.
mro_of, names_of = vars(type)["__mro__"].__get__, vars(type)["__dict__"].__get__


def held_by_each(objects: Sequence[object]) -> list[list[Any]]:
    """Return what held_by() returns, of each object by itself."""
    if any(map(issubclass, map(type, objects), repeat(ModuleType))):
        return [held_by(one) for one in objects]
    return list(map(gc.get_referents, objects))


def with_subclasses(kind: type) -> Iterator[type]:
    """Yield `kind` and all classes below it."""
    yield kind
    below: list[type] = type.__subclasses__(kind)
    for inner in below:
        yield from with_subclasses(inner)


def _is_of_python(kind: type) -> bool:
    """Tell whether `kind`, and all above it but object, come from class statements."""
    return all(base.__flags__ & _HEAP_TYPE for base in kind.__mro__[:-1])


def _walked(is_wanted: Callable[[object], bool]) -> list[Any]:
    """Return the objects whose type has one of the ids; within one call of list(), all in C."""
    every = chain.from_iterable(map(operator.call, (gc.get_objects,)))  # not yet called
    return list(_of_kinds(is_wanted, *tee(every)))


def _of_kinds(
    is_wanted: Callable[[object], bool], objects: Iterator[Any], again: Iterator[Any]
) -> Iterator[Any]:
    """Return an iterator that is the only owner of the two, and so of what they still hold."""
    return compress(objects, map(is_wanted, map(id, map(type, again))))
