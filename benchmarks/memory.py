"""What the guard adds to a stream, in bytes, and that it adds nothing when it is off.

It counts the objects that the guarded object refers to and that did not exist before: for a
direction, its record, the token, the bound step, the noted owner and start time, and its share of
the proxy. The record of the whole stream, which its directions share, is counted separately.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType, NoneType
from typing import Any

import grpc
import grpc.aio

import grpc_guard
from grpc_guard._catalogue.modes import Mode
from grpc_guard._core import which
from grpc_guard._core.stream import Direction, Stream
from grpc_guard._proxies.aio import calls as aio_calls
from grpc_guard._proxies.sync import calls as sync_calls
from grpc_guard._proxies.sync import handlers as sync_handlers

from ._measure import Figure, Plan
from ._stubs import AioCall, SyncCall

TITLE = "memory, per guarded direction, stream and channel"

BOUND = 300 if which.name() == "c" else 500  # bytes per direction
_RPC = "/package.Service/Method"
_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType, str, Mode, bool, NoneType)
_SMALL = range(-5, 257)  # integers that the interpreter keeps once
_OF_THE_STREAM = (Stream, weakref.ref)

Guard = Callable[[Any], Any]


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield bytes per direction, counted and traced, and what mode ``off`` adds."""
    yield from _per_direction("sync client, responses", SyncCall, _sync_responses, plan)
    yield from _per_direction("sync client, requests", SyncCall, _sync_requests, plan)
    yield from _per_direction("sync server, requests", SyncCall, _sync_server_requests, plan)
    yield from asyncio.run(_aio(plan))
    yield from _channels(plan)
    yield _off()


def _sync_responses(call: Any) -> Any:
    return sync_calls.guard_call(call, Stream(_RPC, "client", "sync", Mode.RAISE))


def _sync_requests(iterator: Any) -> Any:
    return sync_calls.guard_requests(iterator, Stream(_RPC, "client", "sync", Mode.RAISE))


def _sync_server_requests(iterator: Any) -> Any:
    return sync_handlers.requests_of(iterator, Stream(_RPC, "server", "sync", Mode.RAISE))


async def _aio(plan: Plan) -> list[Figure]:
    loop = asyncio.get_running_loop()

    def guard(call: Any) -> Any:
        return aio_calls.DuplexCall(call, Stream(_RPC, "client", "aio", Mode.RAISE, loop))

    return list(_per_direction("aio client, either direction", AioCall, guard, plan))


def _per_direction(
    name: str, make: Callable[[], Any], guard: Guard, plan: Plan
) -> Iterator[Figure]:
    plain = make()
    guarded = guard(plain)
    if hasattr(type(plain), "__next__"):
        next(guarded)  # from the first operation on, owner and start time are there
    parts = list(_added(guarded, plain))
    directions = sum(isinstance(part, Direction) for part in parts)
    stream = sum(map(sys.getsizeof, parts))
    whole = stream / directions
    shared = sum(sys.getsizeof(part) for part in parts if isinstance(part, _OF_THE_STREAM))
    yield Figure(name, whole - shared / directions, "bytes", bound=BOUND)
    yield Figure(f"{name}, with its share of the stream", whole, "bytes")
    yield Figure(f"{name}, the whole stream", stream, "bytes")
    traced = _traced(make, guard, plan.objects) / directions
    yield Figure(f"{name}, the same as traced, before the first operation", traced, "bytes")


def _added(guarded: object, plain: object) -> Iterator[object]:
    """Yield all that is reachable from `guarded` and was not there before it."""
    seen = {id(plain), id(getattr(plain, "_loop", None))}
    front: list[object] = [guarded]
    while front:
        part = front.pop()
        if id(part) in seen or (issubclass(type(part), _SHARED) and not _encloses(part)):
            continue
        if type(part) is int and part in _SMALL:
            continue
        seen.add(id(part))
        yield part
        # All else that a function refers to belongs to its module.
        front.extend([part.__closure__] if _encloses(part) else gc.get_referents(part))


def _encloses(part: Any) -> bool:
    """Tell whether `part` is a function that was made for what it encloses."""
    return type(part) is FunctionType and part.__closure__ is not None


def _traced(make: Callable[[], Any], guard: Guard, objects: int) -> float:
    """Return the bytes that guarding one object allocates, by the allocator's own count."""
    plain = [make() for _ in range(objects)]
    guarded: list[Any] = [None] * objects
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index, call in enumerate(plain):
            guarded[index] = guard(call)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return (after - before) / objects


def _channels(plan: Plan) -> Iterator[Figure]:
    """Yield what one guarded channel adds, and one method of a stub made from it."""
    with grpc.insecure_channel("localhost:1") as channel:
        added = _traced(lambda: channel, grpc_guard.wrap, plan.objects)
        yield Figure("sync channel", added, "bytes")
        guarded = grpc_guard.wrap(channel)
        plain = _traced(lambda: channel, _method, plan.objects)
        added = _traced(lambda: guarded, _method, plan.objects) - plain
        yield Figure("sync channel, for each streaming method of a stub", added, "bytes")


def _method(channel: Any) -> Any:
    return channel.stream_stream(_RPC)


def _off() -> Figure:
    """Return how many kinds of object wrap() replaces by another object in mode off."""

    async def wrapped() -> int:
        kinds = [
            grpc.insecure_channel("localhost:1"),
            grpc.aio.insecure_channel("localhost:1"),
            SyncCall(),
            AioCall(),
        ]
        return sum(grpc_guard.wrap(kind, mode="off") is not kind for kind in kinds)

    return Figure(
        'wrap(x, mode="off") is not x', asyncio.run(wrapped()), "of 4 kinds of object", bound=0
    )
