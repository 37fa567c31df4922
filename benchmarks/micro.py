"""One guarded operation against the bare one, and against what other guards would cost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from itertools import repeat
from typing import Any

import anyio
import wrapt

from grpc_guard._catalogue.modes import Mode
from grpc_guard._core.stream import Stream
from grpc_guard._proxies.aio import calls as aio_calls
from grpc_guard._proxies.aio import given as aio_given
from grpc_guard._proxies.sync import calls as sync_calls
from grpc_guard._proxies.sync import handlers as sync_handlers

from ._measure import Block, Figure, Plan, control_figure, race, ratio_figure
from ._stubs import AioCall, SyncCall

TITLE = "one operation on a call that does nothing"
INTRO = (
    "CPU time of one operation, with the loop and the call around it. The plain call is a Python object whose method "
    "returns at once, so that what is left is the guard; *lock pair* is `acquire()` and `release()` of a `threading.Lock` "
    "around it, *ResourceGuard* a `with` of anyio's, and a wrapt proxy is a `BaseObjectProxy` with that one method."
)

_BARE, _LOCK, _RESOURCE = "bare", "bare + lock pair", "anyio.ResourceGuard"
_EMPTY, _PROXIED, _GUARDED = "empty wrapt proxy", "wrapt proxy + ResourceGuard", "guarded"
_SYNC_BOUND = 0.6  # x (bare + lock pair), for the sync next with owner and start time stored
_AIO_BOUND = 0.4  # x a wrapt proxy around anyio.ResourceGuard
_RPC = "/benchmark.Service/Method"

Step = Callable[[], Coroutine[Any, Any, object]]


class _EmptyProxy(wrapt.BaseObjectProxy):
    def __next__(self) -> Any:
        return self.__wrapped__.__next__()

    async def __anext__(self) -> Any:
        return await self.__wrapped__.__anext__()

    async def read(self) -> Any:
        return await self.__wrapped__.read()

    async def write(self, message: bytes) -> Any:
        return await self.__wrapped__.write(message)


class ResourceProxy(wrapt.BaseObjectProxy):
    """A wrapt proxy with a ResourceGuard of anyio around each operation."""

    def __init__(self, wrapped: object) -> None:
        super().__init__(wrapped)
        self._self_guard = anyio.ResourceGuard()

    def __next__(self) -> Any:
        with self._self_guard:
            return self.__wrapped__.__next__()

    async def __anext__(self) -> Any:
        with self._self_guard:
            return await self.__wrapped__.__anext__()

    async def read(self) -> Any:
        with self._self_guard:
            return await self.__wrapped__.read()

    async def write(self, message: bytes) -> Any:
        with self._self_guard:
            return await self.__wrapped__.write(message)


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of every operation of the hot path."""
    for operation, guard in _SYNC.items():
        yield from _sync_operation(operation, guard, plan)
    yield from asyncio.run(_aio(plan))


def _sync_stream(side: str) -> Stream:
    return Stream(_RPC, side, "sync", Mode.RAISE)


_SYNC: dict[str, Callable[[Any], Any]] = {
    "sync client: next": lambda call: sync_calls.responses_of(call, _sync_stream("client")),
    "sync client: request iterator": lambda requests: sync_calls.requests_of(
        requests, _sync_stream("client")
    ),
    "sync server: next": lambda requests: sync_handlers.requests_of(
        requests, _sync_stream("server")
    ),
    "sync server: response iterator": lambda responses: sync_handlers.responses_of(
        responses, _sync_stream("server")
    ),
}


def _sync_operation(name: str, guard: Callable[[Any], Any], plan: Plan) -> Iterator[Figure]:
    call = SyncCall()
    lock, resource = threading.Lock(), anyio.ResourceGuard()
    acquire, release = lock.acquire, lock.release

    def stepping(iterator: Any) -> Block:
        def step(operations: int) -> None:
            for _ in repeat(None, operations):
                next(iterator)

        return step

    def locked(operations: int) -> None:
        for _ in repeat(None, operations):
            acquire()
            next(call)
            release()

    def reserved(operations: int) -> None:
        for _ in repeat(None, operations):
            with resource:
                next(call)

    contenders = {
        _BARE: stepping(call),
        _LOCK: locked,
        _RESOURCE: reserved,
        _EMPTY: stepping(_EmptyProxy(SyncCall())),
        _PROXIED: stepping(ResourceProxy(SyncCall())),
        _GUARDED: stepping(guard(SyncCall())),
    }
    return _figures(name, contenders, _LOCK, _SYNC_BOUND, plan)


async def _aio(plan: Plan) -> list[Figure]:
    def stream(side: str) -> Stream:
        return Stream(_RPC, side, "aio", Mode.RAISE, asyncio.get_running_loop())

    call = aio_calls.DuplexCall(AioCall(), stream("client"))
    context = aio_given.Context(AioCall(), stream("server"))
    requests = aio_given.RequestIterator(AioCall(), stream("server"), context._self_read)
    operations: dict[str, tuple[Any, Callable[[Any], Step]]] = {
        "aio client: read": (call, _read),
        "aio client: write": (call, _write),
        "aio client: __anext__": (aiter(call), _anext),
        "aio server: context.read": (context, _read),
        "aio server: context.write": (context, _write),
        "aio server: __anext__": (aiter(requests), _anext),
    }
    return [
        figure
        for name, (guarded, step_of) in operations.items()
        for figure in _aio_operation(name, guarded, step_of, plan)
    ]


# How users call them: the method is looked up each time.


def _read(target: Any) -> Step:
    return lambda: target.read()


def _write(target: Any) -> Step:
    return lambda: target.write(b"")


def _anext(target: Any) -> Step:
    return lambda: target.__anext__()


def _aio_operation(
    name: str, guarded: Any, step_of: Callable[[Any], Step], plan: Plan
) -> Iterator[Figure]:
    bare = step_of(AioCall())
    lock, resource = threading.Lock(), anyio.ResourceGuard()
    acquire, release = lock.acquire, lock.release

    def stepping(target: Any) -> Block:
        step = step_of(target)

        async def act(operations: int) -> None:
            for _ in repeat(None, operations):
                await step()

        return run_through(act)

    async def locked(operations: int) -> None:
        for _ in repeat(None, operations):
            acquire()
            await bare()
            release()

    async def reserved(operations: int) -> None:
        for _ in repeat(None, operations):
            with resource:
                await bare()

    contenders = {
        _BARE: stepping(AioCall()),
        _LOCK: run_through(locked),
        _RESOURCE: run_through(reserved),
        _EMPTY: stepping(_EmptyProxy(AioCall())),
        _PROXIED: stepping(ResourceProxy(AioCall())),
        _GUARDED: stepping(guarded),
    }
    return _figures(name, contenders, _PROXIED, _AIO_BOUND, plan)


def _figures(
    row: str, contenders: dict[str, Block], rival: str, bound: float, plan: Plan
) -> Iterator[Figure]:
    measured = race(contenders, reference=rival, plan=plan)
    for name in contenders:
        yield Figure(row, measured.time(name, "ns"), "ns", column=name)
    for name in (_LOCK, _PROXIED):
        column = f"guarded / ({name})"
        promised = bound if name == rival else None
        yield ratio_figure(row, column, measured, _GUARDED, name, bound=promised)
    yield control_figure(row, measured)


def run_through(contender: Callable[[int], Coroutine[Any, Any, None]]) -> Block:
    """Return a block that runs a coroutine in which nothing suspends."""

    def run_to_the_end(operations: int) -> None:
        try:
            contender(operations).send(None)  # nothing in it suspends: the loop is not needed
        except StopIteration:
            return
        raise RuntimeError("an operation that does nothing was suspended")

    return run_to_the_end
