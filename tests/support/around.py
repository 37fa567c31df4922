"""Interceptors of servers that run each RPC by what a test makes of its handler, or of what that gets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_guard import ConcurrencyError
from support.stage import BULK, NARROW
from support.staging import (
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    outcomes,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
    within,
)

RPC = path("Stream")


def methods(shape: str, behavior: Any) -> dict[str, Any]:
    """Return the handler of RPC, of this shape."""
    return {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(behavior)}


class Around(grpc.ServerInterceptor):
    """Runs each RPC by what `runs` makes of its handler."""

    def __init__(self, shape: str, runs: Callable[[Any], Any]) -> None:
        self._shape = shape
        self._runs = runs

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        behavior = getattr(continuation(details), self._shape)
        return getattr(grpc, f"{self._shape}_rpc_method_handler")(self._runs(behavior))


class AioAround(Around, grpc.aio.ServerInterceptor):
    """The same for asyncio."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        return super().intercept_service(lambda details: handler, details)


# Sync: requests that threads share


class HandsOn:
    """Adds nothing to what it is given: two callers of it are two callers of gRPC."""

    def __init__(self, requests: Any) -> None:
        self.requests = requests
        self.two_came = threading.Event()
        self._callers: list[int] = []

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self.arrive()
        return next(self.requests)

    def arrive(self) -> None:
        self._callers.append(threading.get_ident())
        if len(self._callers) == 2:
            self.two_came.set()


def giving(make: Callable[[Any], Any]) -> Around:
    """Return an interceptor that gives the handler what `make` makes of its requests."""
    return Around("stream_unary", lambda plain: lambda given, context: plain(make(given), context))


class Calling:
    """Calls RPC with two requests that are sent when it is asked, in a thread."""

    def __init__(self, channel: Any) -> None:
        self._gate = Gate()
        self._party = in_thread(channel.stream_unary(RPC), self._requests())

    def _requests(self) -> Iterator[bytes]:
        self._gate.park()
        yield b"0"
        yield b"1"

    def send(self) -> None:
        self._gate.open()

    def result(self) -> Any:
        return self._party.result()


def served_side_by_side(make: Callable[[Any], Any], mode: str) -> None:
    """Have two threads of a handler read at once, from what `make` makes of its requests."""
    calls: list[Calling] = []
    started = threading.Event()

    def behavior(requests: Any, context: Any) -> bytes:
        parties = [in_thread(next, requests) for _ in range(2)]
        wait(requests.two_came)
        wait(started)
        calls[0].send()
        return b" ".join(sorted(party.result() for party in parties))

    handlers = methods("stream_unary", behavior)
    with (
        sync_server(handlers, mode=mode, interceptors=[giving(make)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        calls.append(Calling(channel))
        started.set()
        assert calls[0].result() == b"0 1"


def refused_beside_another(*makes: Callable[[Any], Any]) -> None:
    """Have a handler's second thread refused, in what `makes` make of its requests."""
    calls: list[Calling] = []
    started = threading.Event()

    def behavior(requests: Any, context: Any) -> bytes:
        first = inside_grpc(next, requests)
        with pytest.raises(ConcurrencyError, match="concurrent-read"):
            next(requests)
        wait(started)
        calls[0].send()
        return first.result() + next(requests)  # type: ignore[no-any-return]

    handlers = methods("stream_unary", behavior)
    with (
        sync_server(handlers, interceptors=[*map(giving, makes)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        calls.append(Calling(channel))
        started.set()
        assert calls[0].result() == b"01"


# Asyncio: contexts


class ContextThatHandsOn:
    def __init__(self, context: Any) -> None:
        self.context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    async def write(self, message: bytes) -> None:
        await self.context.write(message)


async def two_writes(make: Callable[[Any], Any], mode: str) -> list[Any]:
    """Return how two writes at once end, in a handler with the context that `make` makes."""
    written: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def behavior(request: bytes, context: Any) -> None:
        parties = [asyncio.create_task(context.write(BULK)) for _ in range(2)]
        await settle()
        begun.set()
        written.set_result(await outcomes(*parties))

    def runs(plain: Any) -> Any:
        async def run(request: bytes, context: Any) -> None:
            await plain(request, make(context))

        return run

    interceptors = [AioAround("unary_stream", runs)]
    handlers = methods("unary_stream", behavior)
    async with (
        aio_server(handlers, mode=mode, interceptors=interceptors) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        await within(begun.wait())
        count = len([None async for _ in call])
        ended = await within(written)
    assert count == ended.count(None)
    return ended


async def write_refused_beside_yield(runs: Callable[[Any], Any]) -> None:
    """Have a task's write refused while gRPC writes what the handler, run by `runs`, has yielded."""
    yielded, tasks = asyncio.Event(), list[asyncio.Task[None]]()

    async def write(context: Any) -> None:
        await yielded.wait()
        await context.write(b"late")

    async def behavior(request: bytes, context: Any) -> AsyncIterator[bytes]:
        tasks.append(asyncio.create_task(write(context)))
        yield BULK

    interceptors = [AioAround("unary_stream", runs)]
    async with (
        aio_server(methods("unary_stream", behavior), interceptors=interceptors) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        # The message, for which it has no room, is on its way then.
        await within(call.initial_metadata())
        yielded.set()
        with pytest.raises(ConcurrencyError, match="concurrent-write"):
            await within(tasks[0])
        assert [message[:1] async for message in call] == [b"\0"]
