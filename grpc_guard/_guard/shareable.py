"""Whether an operation belongs to an object that callers may share, which an interceptor made.

Where gRPC's own stream object would be, an interceptor of a server may give a handler another: one with
a lock, or one that is fed from a queue. Who may use such an object at once is up to its author. This is
looked for where an operation is about to be refused, or to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from threading import Thread
from types import CoroutineType, FrameType, FunctionType, ModuleType
from typing import Any

from .._catalogue.grpcio import is_of_grpcio
from .._catalogue.heap import held_by
from .._catalogue.nouns import SERVER
from .._core.stream import Direction

_GENERATORS = (Generator, AsyncGenerator)
_LAYERS, _LOOKED_AT = 12, 500  # objects one in the other, and all of them, that are looked at


def is_shareable(direction: Direction, step: Callable[..., Any]) -> bool:
    """Tell whether two callers of `step`, in a `direction` of a handler, are none of the guard's business.

    So it is where what it belongs to, or a layer between that and gRPC's object, has a lock or a queue,
    and where a built-in iterator does not lead to gRPC. A layer with neither only hands on.
    """
    if direction.stream.side != SERVER or not direction.is_shared:
        return False
    step = _as_given(step)
    owner = _owner_of(step)
    kind = type(owner)
    if _is_grpcs(owner) or _is_guarded(kind) or issubclass(kind, _GENERATORS):
        return False
    layers = _layers(owner)
    if layers is None and kind.__module__ == "builtins":
        return kind is not FunctionType
    return _code_synchronizes(step) or any(map(_synchronizes, layers or [owner]))


def leads_to_grpc(step: Callable[..., Any]) -> bool:
    """Tell whether `step` may reach gRPC: it does not where it belongs to a list's iterator, say."""
    owner = _owner_of(_as_given(step))
    kind = type(owner)
    may = kind.__module__ != "builtins" or issubclass(kind, _GENERATORS)
    return may or _layers(owner) is not None


def led_to(one: object) -> Iterable[object]:
    """Return what an object holds, but for the code of the program, which holds everything."""
    if type(one) is FunctionType:
        return one.__closure__ or ()
    if issubclass(type(one), (type, ModuleType, FrameType)):
        return ()
    return held_by(one)


def _as_given(step: Any) -> Any:
    """Return `step` without what the guard has put around it, to count or to watch."""
    while type(step) is FunctionType and step.__module__.startswith("grpc_guard."):
        names = step.__code__.co_freevars
        if "step" not in names:
            break
        step = held_by(step.__closure__[names.index("step")])[0]  # type: ignore[index]
    return step


def _owner_of(step: Any) -> Any:
    """Return the object of which `step` is a method, or a function that is no method."""
    owner = getattr(step, "__self__", None)
    return step if owner is None else owner


def _is_grpcs(owner: object) -> bool:
    return is_of_grpcio(owner if type(owner) is FunctionType else type(owner))


def _is_guarded(kind: type) -> bool:
    return hasattr(kind, "_self_stream")


def _layers(owner: object) -> list[object] | None:
    """Return the objects from `owner` to gRPC's, without that; None where there is no such way."""
    seen: set[int] = set()
    level: list[tuple[object, list[object]]] = [(owner, [])]
    for _ in range(_LAYERS):
        inner: list[tuple[object, list[object]]] = []
        for one, way in level:
            kind = type(one)
            if _is_guarded(kind) or (is_of_grpcio(kind) and _is_stream(kind)):
                return way
            is_new = id(one) not in seen and len(seen) < _LOOKED_AT
            if is_new and not issubclass(kind, _RUNS):
                seen.add(id(one))
                further = [*way, one]
                inner += [(held, further) for held in led_to(one)]
        level = inner
    return None


_RUNS = (asyncio.Future, CoroutineType, Thread, asyncio.AbstractEventLoop)  # they lead everywhere


def _is_stream(kind: type) -> bool:
    return any(hasattr(kind, name) for name in _OF_STREAMS)


_OF_STREAMS = ("__next__", "__anext__", "read", "write", "add_callback")


def _synchronizes(layer: object) -> bool:
    """Tell whether an object, or its class, holds a lock or a queue."""
    held = [*led_to(layer), *vars(type(layer)).values()]
    held += [value for one in held if type(one) is dict for value in one.values()]
    return any(map(_is_lock_or_queue, map(type, held)))


def _code_synchronizes(step: Callable[..., Any]) -> bool:
    """Tell whether the code of `step` names one that is outside of it."""
    function = getattr(step, "__func__", step)
    if type(function) is not FunctionType:
        return False
    known = function.__globals__
    held = [known[name] for name in function.__code__.co_names if name in known]
    held += held_by(*function.__closure__ or ())
    return any(map(_is_lock_or_queue, map(type, held)))


def _is_lock_or_queue(kind: type) -> bool:
    return any(all(hasattr(kind, name) for name in names) for names in _SYNCHRONIZERS)


_SYNCHRONIZERS = (("acquire", "release"), ("wait", "notify_all"), ("put", "get"))  # of any library
