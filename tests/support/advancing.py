"""Iterators of the user's that gRPC advances: other parties reach them through interceptors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from grpc_guard import wrap
from support.stage import EOF, MESSAGES, RPC, Carried, Subject, everything, handler, one, one_async
from support.staging import (
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    sync_channel,
    sync_server,
    within,
)


def _parked(gate: Gate) -> Any:
    """A user's generator that parks the first thread that advances it."""
    for message in MESSAGES:
        yield gate.park_at(MESSAGES[0])(message)


async def _parked_async(gate: AsyncGate) -> Any:
    for message in MESSAGES:
        if message == MESSAGES[0]:
            await gate.park()
        yield message


class _Lending(grpc.StreamStreamClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Lends the requests that it is given, and sends none, until it is told to end."""

    def __init__(self) -> None:
        self.lent: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.end = Gate()

    def _requests(self) -> Any:
        self.end.park()
        yield from ()

    def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        self.lent.set_result(request_iterator)
        return continuation(client_call_details, self._requests())

    intercept_stream_unary = intercept_stream_stream


@asynccontextmanager
async def sync_client_requests(mode: Any, shape: str) -> AsyncIterator[Subject]:
    gate, interceptor = Gate(), _Lending()

    def collect(requests: Any, context: Any) -> Any:
        rest = b"".join(requests)
        return rest if shape == "stream_unary" else iter([rest])

    with (
        sync_server({"Stream": handler(shape, collect)}, mode=None) as address,
        sync_channel(address, mode=None) as plain,
    ):
        channel = wrap(grpc.intercept_channel(plain, interceptor), mode=mode)
        start = getattr(channel, shape)(RPC)
        call = (start.future if shape == "stream_unary" else start)(_parked(gate))
        requests = await within(asyncio.wrap_future(interceptor.lent))

        async def rest() -> Carried:
            messages = await within(in_thread(list, requests, name="rest").as_future())
            interceptor.end.open()
            end = call.result if shape == "stream_unary" else functools.partial(next, call)
            assert await within(in_thread(end, name="end").as_future()) == b""
            return messages

        operations = {"next(request_iterator)": lambda: one(requests.__next__)}
        try:
            yield Subject(
                requests,
                call,
                operations,
                gate,
                rest,
                everything,
                {"next(request_iterator)": gate},
            )
        finally:
            gate.open()
            interceptor.end.open()


class _AioLending:
    def __init__(self) -> None:
        self.lent: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.end = AsyncGate()

    async def _requests(self) -> Any:
        await self.end.park()
        for never in ():
            yield never

    async def intercept(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        self.lent.set_result(request_iterator)
        return await continuation(client_call_details, self._requests())


class _AioLendingDuplex(_AioLending, grpc.aio.StreamStreamClientInterceptor):
    intercept_stream_stream = _AioLending.intercept


class _AioLendingWriter(_AioLending, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary = _AioLending.intercept


@asynccontextmanager
async def aio_client_requests(mode: Any, shape: str) -> AsyncIterator[Subject]:
    gate = AsyncGate()
    interceptor = _AioLendingWriter() if shape == "stream_unary" else _AioLendingDuplex()

    async def collect(requests: Any, context: Any) -> bytes:
        return b"".join([message async for message in requests])

    async def echo(requests: Any, context: Any) -> Any:
        yield await collect(requests, context)

    method = handler(shape, collect if shape == "stream_unary" else echo)
    async with (
        aio_server({"Stream": method}, mode=None) as address,
        aio_channel(address, mode=mode, interceptors=[interceptor]) as channel,
    ):
        call = getattr(channel, shape)(RPC)(_parked_async(gate))
        if shape == "stream_stream":
            end = asyncio.create_task(call.read())
        requests = await within(interceptor.lent)

        async def step() -> Carried:
            return await one_async(anext(requests))

        async def rest() -> Carried:
            messages = [message async for message in requests]
            interceptor.end.open()
            assert await within(call if shape == "stream_unary" else end) == b""
            return messages

        yield Subject(
            requests,
            call,
            {"anext(request_iterator)": step},
            gate,
            rest,
            everything,
            {"anext(request_iterator)": gate},
        )


class _LendingResponses(grpc.ServerInterceptor):
    """Lends the responses of the handler, and sends none, until it is told to end."""

    def __init__(self) -> None:
        self.lent: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self.end = Gate()

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = continuation(handler_call_details)
        shape = "stream_stream" if method.request_streaming else "unary_stream"
        guarded = getattr(method, shape)

        def behavior(request: Any, context: Any) -> Any:
            self.lent.set_result((context, guarded(request, context)))
            self.end.park()
            yield from ()

        return handler(shape, behavior)


class _AioLendingResponses(_LendingResponses, grpc.aio.ServerInterceptor):
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = await continuation(handler_call_details)
        return super().intercept_service(lambda details: method, handler_call_details)


@asynccontextmanager
async def _lent_responses(
    interceptor: _LendingResponses, gate: Gate, end: Callable[[], Awaitable[None]]
) -> AsyncIterator[Subject]:
    context, responses = await within(asyncio.wrap_future(interceptor.lent))

    async def rest() -> Carried:
        messages = await within(in_thread(list, responses, name="rest").as_future())
        interceptor.end.open()
        await within(end())
        return messages

    try:
        yield Subject(
            responses,
            context,
            {"next(response_iterator)": lambda: one(responses.__next__)},
            gate,
            rest,
            everything,
            {"next(response_iterator)": gate},
        )
    finally:
        gate.open()
        interceptor.end.open()


@asynccontextmanager
async def sync_server_responses(mode: Any, shape: str) -> AsyncIterator[Subject]:
    gate, interceptor = Gate(), _LendingResponses()
    methods = {"Stream": handler(shape, lambda request, context: _parked(gate))}
    with (
        sync_server(methods, mode=mode, interceptors=[interceptor]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else iter(()))

        async def end() -> None:
            assert await in_thread(next, call, EOF, name="end").as_future() is EOF

        async with _lent_responses(interceptor, gate, end) as subject:
            yield subject


@asynccontextmanager
async def aio_server_responses(mode: Any, shape: str) -> AsyncIterator[Subject]:
    """The handler is a generator, which an aio server runs in its thread pool."""
    gate, interceptor = Gate(), _AioLendingResponses()
    methods = {"Stream": handler(shape, lambda request, context: _parked(gate))}
    async with (
        aio_server(methods, mode=mode, interceptors=[interceptor]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else [])

        async def end() -> None:
            assert await call.read() is EOF

        async with _lent_responses(interceptor, gate, end) as subject:
            yield subject
