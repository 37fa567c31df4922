"""Whether an operation belongs to an object that callers may share, which an interceptor made.

Where gRPC's own stream object would be, an interceptor of a server may give a handler another: one with
a lock, or one that is fed from a queue. Who may use such an object at once is up to its author. This is
looked for where an operation is about to be refused, or to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from itertools import chain, islice
from threading import Thread
from types import (
    BuiltinMethodType,
    CoroutineType,
    FunctionType,
    MethodType,
    MethodWrapperType,
)
from typing import Any

from .._catalogue.boundary import overlooked
from .._catalogue.grpcio import is_of_grpcio, module_of
from .._catalogue.heap import held_by, led_to, mro_of, names_of
from .._catalogue.nouns import SERVER
from .._core.stream import Direction
from .named import Named

_GENERATORS = (Generator, AsyncGenerator)
_LAYERS, _LOOKED_AT = 12, 500  # objects one in the other, and all of them, that are looked at
_UNKNOWN = "it is not known whether the object of an interceptor may be shared"


def is_shareable(direction: Direction, step: Callable[..., Any]) -> bool:
    """Tell whether the object that does `step`, in a `direction` of a handler, may have many callers.

    It may if it has a lock or a queue, or if another object between it and gRPC's has one, or if the
    code of one of them names what keeps callers apart. A built-in iterator may, too, if it does not
    lead to gRPC. All other objects only hand on.
    """
    if direction.stream.side != SERVER or not direction.is_shared:
        return False
    try:
        return _is_shareable(_as_given(step))
    except Exception as error:
        if not overlooked(error, _UNKNOWN):
            raise
        return False


def leads_to_grpc(step: Callable[..., Any]) -> bool:
    """Tell whether `step` may reach gRPC: it does not where it belongs to a list's iterator, say."""
    try:
        owner = _owner_of(_as_given(step))
        kind = type(owner)
        is_plain = module_of(kind) == "builtins" and not issubclass(kind, _GENERATORS)
        return not is_plain or _ways(owner) is not None
    except Exception as error:
        if not overlooked(error, _UNKNOWN):
            raise
        return True


def _is_shareable(step: Callable[..., Any]) -> bool:
    owner = _owner_of(step)
    kind = type(owner)
    if is_of_grpcio(owner if kind is FunctionType else kind):
        return False
    if _is_guarded(kind) or issubclass(kind, _GENERATORS):
        return False
    ways = _ways(owner)
    if ways is None and kind is not FunctionType and module_of(kind) == "builtins":
        return True
    on_the_way = ways or [owner]
    return any(map(_synchronizes, on_the_way)) or _names_what_synchronizes(step, on_the_way)


def _as_given(step: Any) -> Any:
    """Return `step` without what the guard has put around it, to count or to watch."""
    while type(step) is FunctionType and str(step.__module__).startswith("grpc_guard."):
        names = step.__code__.co_freevars
        if "step" not in names:
            break
        step = held_by(step.__closure__[names.index("step")])[0]  # type: ignore[index]
    return step


def _owner_of(step: Any) -> Any:
    """Return the object that has `step` as a method. Anything else that can be called is returned."""
    return step.__self__ if type(step) in _METHODS else step


_METHODS = (MethodType, BuiltinMethodType, MethodWrapperType)


def _ways(owner: object) -> list[object] | None:
    """Return the objects through which `owner` leads to gRPC's, on all ways; None if it does not."""
    seen: set[int] = {id(owner)}
    holders: dict[int, list[object]] = {}
    last: list[object] = []  # those that hold gRPC's
    level: list[object] = [owner]
    for _ in range(_LAYERS):
        inner: list[object] = []
        for one in level:
            for held in islice(led_to(one), _LOOKED_AT):
                kind = type(held)
                if _is_guarded(kind) or (is_of_grpcio(kind) and _is_stream(kind)):
                    last.append(one)
                elif not issubclass(kind, _RUNS):
                    holders.setdefault(id(held), []).append(one)
                    if id(held) not in seen and len(seen) < _LOOKED_AT:
                        seen.add(id(held))
                        inner.append(held)
        level = inner
    ways: dict[int, object] = {}
    while last:
        one = last.pop()
        if id(one) not in ways:
            ways[id(one)] = one
            last += holders.get(id(one), ())
    return list(ways.values()) or None


_RUNS = (asyncio.Future, CoroutineType, Thread, asyncio.AbstractEventLoop)  # they lead everywhere


def _is_guarded(kind: type) -> bool:
    return _has(kind, "_self_stream")


def _is_stream(kind: type) -> bool:
    return any(_has(kind, name) for name in _OF_STREAMS)


_OF_STREAMS = ("__next__", "__anext__", "read", "write", "add_callback")


def _synchronizes(one: object) -> bool:
    """Tell whether an object is a lock or a queue, or it or its class holds one, or a collection of some."""
    held = [*islice(led_to(one), _LOOKED_AT), *names_of(type(one)).values()]
    held += chain.from_iterable(map(_collected, tuple(held)))
    return any(map(_is_lock_or_queue, map(type, (one, *held))))


def _collected(one: object) -> Iterable[object]:
    return islice(led_to(one), _LOOKED_AT) if issubclass(type(one), _COLLECTIONS) else ()


_COLLECTIONS = (dict, list, tuple, set)


def _names_what_synchronizes(step: Callable[..., Any], ways: list[object]) -> bool:
    """Tell whether the code of an operation, here or further in, names what keeps callers apart."""
    named = Named(step, *(_same(step, one) for one in ways))
    if not _HANDS_OVER.isdisjoint(named.names):
        return True
    kinds = list(map(type, chain(named.objects, *map(_collected, named.objects))))
    waits = "wait" in named.names and any(
        _has(kind, "set") and _has(kind, "wait") for kind in kinds
    )
    return waits or any(map(_is_lock_or_queue, kinds))


def _same(step: Callable[..., Any], one: object) -> Callable[..., Any]:
    """Return the method of `one` that has the name of `step`; `step` if there is none."""
    if type(step) is MethodType and type(step.__func__) is FunctionType:
        name = step.__func__.__name__
        for base in mro_of(type(one)):
            function = names_of(base).get(name)
            if type(function) is FunctionType:
                return MethodType(function, one)
    return step


# By which an operation has its work done elsewhere, or makes a lock when it needs one.
_HANDS_OVER = {
    *("create_task", "ensure_future", "start_soon", "create_future", "Future", "popleft"),
    *("submit", "run_in_executor", "to_thread", "run_coroutine_threadsafe", "call_soon_threadsafe"),
    *("Lock", "RLock", "Semaphore", "Condition"),
}


def _is_lock_or_queue(kind: type) -> bool:
    return any(all(_has(kind, name) for name in names) for names in _SYNCHRONIZERS)


_SYNCHRONIZERS = (  # of any library
    ("acquire", "release"),
    ("wait", "notify_all"),
    ("put", "get"),
    ("receive", "receive_nowait"),
)


def _has(kind: type, name: str) -> bool:
    """Tell whether a class, or one above it, defines `name`; a metaclass may answer anything."""
    return any(name in names_of(base) for base in mro_of(kind))
