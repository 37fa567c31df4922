"""Whether an operation belongs to an object that callers may share, which an interceptor made.

Where gRPC's own stream object would be, an interceptor of a server may give a handler another: one with
a lock, or one that is fed from a queue. Who may use such an object at once is up to its author. This is
looked for where an operation is about to be refused, or to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
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
from .._catalogue.heap import collected, held_by, led_to, mro_of, names_of
from .._catalogue.nouns import SERVER
from .._core.stream import Direction
from .named import functions_of

_LAYERS, _LOOKED_AT = 12, 500  # objects one in the other, and all of them, that are looked at
_HELD = 10_000  # by these
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
        is_plain = module_of(kind) == "builtins" and not _generates(kind)
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
    if _is_guarded(kind) or _generates(kind):
        return False
    ways = _ways(owner)
    if ways is None and kind is not FunctionType and module_of(kind) == "builtins":
        return True
    return _keeps_apart(step, ways or [owner])


def _as_given(step: Any) -> Any:
    """Return `step` without what the guard has put around it, to count, to watch or to pass names."""
    step = step.func if type(step) is partial else step
    while type(step) is FunctionType and str(step.__module__).startswith("grpc_guard."):
        names = step.__code__.co_freevars
        if "step" not in names:
            break
        step = held_by(step.__closure__[names.index("step")])[0]  # type: ignore[index]
    if type(step) is MethodType and (step.__func__ is next or step.__func__ is anext):
        step = getattr(step.__self__, f"__{step.__func__.__name__}__", step)
    return step


def _owner_of(step: Any) -> Any:
    """Return the object that has `step` as a method. Anything else that can be called is returned."""
    return step.__self__ if any(type(step) is kind for kind in _METHODS) else step


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


def _generates(kind: type) -> bool:
    """Tell whether objects of `kind` are generators, of which two callers meet in their own code."""
    return any(all(_has(kind, name) for name in names) for names in _OF_GENERATORS)


_OF_GENERATORS = (("send", "throw", "close"), ("asend", "athrow", "aclose"))


def _is_guarded(kind: type) -> bool:
    return _has(kind, "_self_stream")


def _is_stream(kind: type) -> bool:
    return any(_has(kind, name) for name in _OF_STREAMS)


_OF_STREAMS = ("__next__", "__anext__", "read", "write", "add_callback")


def _synchronizes(ways: list[object]) -> bool:
    """Tell whether one of these is a lock or a queue, or it or its class has one, or a collection of some."""
    held = (inner for one in ways for inner in (one, *led_to(one), *names_of(type(one)).values()))
    return _has_lock_or_queue(islice(held, _HELD))


def _has_lock_or_queue(objects: Iterable[object]) -> bool:
    """Tell whether one of `objects` is a lock or a queue, or a collection that holds one."""
    kinds: dict[int, type] = {}  # each is judged once
    for one in objects:
        kinds[id(type(one))] = type(one)
        kinds.update((id(type(each)), type(each)) for each in islice(collected(one), _LOOKED_AT))
    return any(map(_is_lock_or_queue, kinds.values()))


def _keeps_apart(step: Callable[..., Any], ways: list[object]) -> bool:
    """Tell whether one of `ways` has what keeps callers apart, or the code of an operation names it.

    The latter counts where the code leads to gRPC, or still holds what it has taken: it may count or
    trace under a lock besides. An operation that does not ask gRPC at all is done by somebody else.
    What an object has for something else is not taken by an operation that only passes on.
    """
    steps = [_same(step, one) for one in ways]
    first, every, is_whole = functions_of(step, *filter(None, steps))
    passing = [one for one in first if one.passes_on and one.names.isdisjoint(_TAKES)]
    is_elsewhere = not any(function.asks for function in first)
    for function in every:
        if any(function is one for one in passing):
            continue
        names, named = function.names, [use.value for use in function.named]
        leads = is_elsewhere or function.asks or function in first
        waits = not names.isdisjoint(_WAITS) or ("wait" in names and any(map(_is_event, named)))
        hands_over = not names.isdisjoint(_HANDS_OVER) and not function.asks_here
        if (
            not names.isdisjoint(_MAKES_LOCKS)
            or (leads and hands_over)
            or ((leads or function.holds) and (waits or _has_lock_or_queue(named)))
        ):
            return True
    all_pass = is_whole and len(passing) == len(first) > 0 and None not in steps
    return not all_pass and _synchronizes(ways)


def _same(step: Callable[..., Any], one: object) -> Callable[..., Any] | None:
    """Return the method of `one` that is called as `step` is, or a function itself; None if unknown."""
    if type(one) is FunctionType:
        return one
    if type(step) is MethodType and type(step.__func__) is FunctionType:
        if step.__self__ is one:
            return step
        name = step.__func__.__name__
        for base in mro_of(type(one)):
            function = names_of(base).get(name)
            if type(function) is FunctionType:
                return MethodType(function, one)
    return None


_MAKES_LOCKS = frozenset({"Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition", "flock"})
_WAITS = frozenset({"create_future", "Future"})
_TO_TASKS = {"create_task", "ensure_future", "start_soon", "gather", "run_coroutine_threadsafe"}
_TO_THREADS = {"submit", "map", "run_in_executor", "to_thread", "call_soon_threadsafe"}
_HANDS_OVER = frozenset({*_TO_TASKS, *_TO_THREADS, "popleft"})
# By which code takes, for longer than a `with`, what may be in an attribute; or goes where that is not read.
_OF_LOCKS = {"acquire", "release", "wait", "wait_for", "notify", "notify_all", "join"}
_OF_QUEUES = {"get", "put", "receive", "send"}
_OF_CONTEXTS = {"enter_context", "enter_async_context", "__enter__", "__aenter__", "super"}
_TAKES = frozenset({*_OF_LOCKS, *_OF_QUEUES, *_OF_CONTEXTS, *_MAKES_LOCKS, *_WAITS, *_HANDS_OVER})


def _is_event(one: object) -> bool:
    """Tell whether `one` is an event of any library, or a collection of some."""
    kinds = map(type, (one, *islice(collected(one), _LOOKED_AT)))
    return any(_has(kind, "set") and _has(kind, "wait") for kind in kinds)


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
