"""Streams that are read, of every api, side and shape."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc_guard import wrap
from support.stage import (
    EOF,
    MESSAGES,
    RPC,
    Carried,
    Operation,
    Subject,
    everything,
    handler,
    one,
    one_async,
    withheld,
    withheld_async,
)
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


@asynccontextmanager
async def sync_client_reads(
    mode: Any, shape: str, *, single_threaded: bool = False, by_hand: bool = False
) -> AsyncIterator[Subject]:
    gate = Gate()
    method = handler(shape, lambda request, context: withheld(gate))
    with (
        sync_server({"Stream": method}, mode=None) as address,
        sync_channel(
            address, mode=None if by_hand else mode, single_threaded=single_threaded
        ) as channel,
    ):
        request = b"" if shape == "unary_stream" else iter(())
        call = getattr(channel, shape)(RPC)(request)
        if by_hand:
            call = wrap(call, mode=mode)

        async def rest() -> Carried:
            return await within(in_thread(list, call, name="rest").as_future())

        try:
            yield Subject(
                call,
                call,
                {
                    "next": lambda: one(call.__next__),
                    ".next": lambda: one(call.next),
                    "initial_metadata": lambda: [] if call.initial_metadata() == () else None,
                },
                gate,
                rest,
                everything,
            )
        finally:
            gate.open()


@asynccontextmanager
async def aio_client_reads(
    mode: Any, shape: str, *, style: str, by_write: bool = False, by_hand: bool = False
) -> AsyncIterator[Subject]:
    gate = AsyncGate()

    async def respond(request: Any, context: Any) -> Any:
        await gate.park()
        for message in MESSAGES:
            yield message

    async with (
        aio_server({"Stream": handler(shape, respond)}, mode=None) as address,
        aio_channel(address, mode=None if by_hand else mode) as channel,
    ):
        start = getattr(channel, shape)(RPC)
        call = start() if by_write else start(b"" if shape == "unary_stream" else [])
        if by_hand:
            call = wrap(call, mode=mode)

        async def read() -> Carried:
            return [await call.read()]

        async def step() -> Carried:
            return await one_async(anext(aiter(call)))

        async def asend() -> Carried:
            return await one_async(aiter(call).asend(None))

        async def rest() -> Carried:
            if style == "iterate":
                return [message async for message in call]
            messages = []
            while (message := await within(call.read())) is not EOF:
                messages.append(message)
            return messages

        yield Subject(
            call,
            call,
            {"read": read} if style == "read" else {"__anext__": step, "asend": asend},
            gate,
            rest,
            everything,
        )


@asynccontextmanager
async def sync_server_reads(
    mode: Any, shape: str, *, forgetting: bool = False
) -> AsyncIterator[Subject]:
    """A handler that lends its requests to other threads, as it may while it runs.

    With `forgetting`, nothing keeps its context after it has returned its responses.
    """
    gate, done = Gate(), Gate()
    lent: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def lend(requests: Any, context: Any) -> Any:
        lent.set_result((None if forgetting else context, requests))
        if forgetting:
            return iter(done.park, None)
        done.park()
        return b"" if shape == "stream_unary" else iter(())

    with (
        sync_server({"Stream": handler(shape, lend)}, mode=mode) as address,
        sync_channel(address, mode=None) as channel,
    ):
        start = getattr(channel, shape)(RPC)
        call = (start.future if shape == "stream_unary" else start)(withheld(gate))
        context, requests = await within(asyncio.wrap_future(lent))

        async def rest() -> Carried:
            messages = await within(in_thread(list, requests, name="rest").as_future())
            done.open()
            end = call.result if shape == "stream_unary" else functools.partial(list, call)
            assert not await within(in_thread(end, name="end").as_future())
            return messages

        try:
            yield Subject(
                requests,
                context,
                {"next": lambda: one(requests.__next__), ".next": lambda: one(requests.next)},
                gate,
                rest,
                everything,
            )
        finally:
            gate.open()
            done.open()


@asynccontextmanager
async def aio_server_reads(
    mode: Any, shape: str, *, kind: str = "coroutine", by_hand: bool = False
) -> AsyncIterator[Subject]:
    """A handler that lends its context and its requests to other tasks, or threads."""
    gate, done, thread_done = AsyncGate(), AsyncGate(), Gate()
    lent: concurrent.futures.Future[Any] = concurrent.futures.Future()

    async def coroutine(requests: Any, context: Any) -> Any:
        lent.set_result((wrap(context, mode=mode) if by_hand else context, requests))
        await done.park()
        return b""

    async def async_generator(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        await done.park()
        for never in ():
            yield never

    def function(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        thread_done.park()
        return b""

    def generator(requests: Any, context: Any) -> Any:
        lent.set_result((context, requests))
        thread_done.park()
        yield from ()

    behavior = {
        "coroutine": coroutine,
        "async generator": async_generator,
        "function": function,
        "generator": generator,
    }[kind]
    async with (
        aio_server({"Stream": handler(shape, behavior)}, mode=None if by_hand else mode) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(RPC)(withheld_async(gate))
        context, requests = await within(asyncio.wrap_future(lent))

        async def read() -> Carried:
            return [await context.read()]

        async def step() -> Carried:
            return await one_async(anext(aiter(requests)))

        async def bare_step() -> Carried:
            return await one_async(requests.__anext__())

        async def asend() -> Carried:
            return await one_async(aiter(requests).asend(None))

        async def rest() -> Carried:
            if behavior in (function, generator):
                messages = await within(in_thread(list, requests, name="rest").as_future())
            else:
                messages = []
                while (message := await within(context.read())) is not EOF:
                    messages.append(message)
            done.open()
            thread_done.open()
            end = await within(call) if shape == "stream_unary" else await within(call.read())
            assert end in (b"", EOF)
            return messages

        operations: dict[str, Operation] = {
            "context.read": read,
            "__anext__": step,
            ".__anext__": bare_step,
            "asend": asend,
            "next": lambda: one(requests.__next__),
        }
        try:
            yield Subject(
                context if behavior in (coroutine, async_generator) else requests,
                context,
                operations,
                gate,
                rest,
                everything,
            )
        finally:
            thread_done.open()
