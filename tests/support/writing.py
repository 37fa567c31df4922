"""Streams that are written, of every api, side and shape."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc_guard import ConcurrencyError, wrap
from support.stage import EOF, MESSAGES, NARROW, RPC, Carried, Subject, handler, label, numbered
from support.staging import (
    AsyncGate,
    Gate,
    Lost,
    aio_channel,
    aio_server,
    in_thread,
    sync_channel,
    sync_server,
    within,
)


@asynccontextmanager
async def aio_client_writes(
    mode: Any, shape: str, *, by_hand: bool = False
) -> AsyncIterator[Subject]:
    gate = AsyncGate()
    received: Carried = []

    async def collect(requests: Any, context: Any) -> bytes:
        await gate.park()
        async for message in requests:
            received.append(label(message))
        return b""

    method = handler(shape, collect)
    async with (
        aio_server({"Stream": method}, mode=None, options=NARROW) as address,
        aio_channel(address, mode=None if by_hand else mode) as channel,
    ):
        call = getattr(channel, shape)(RPC)()
        if by_hand:
            call = wrap(call, mode=mode)
        await within(call.wait_for_connection())
        number = numbered()

        async def write() -> Carried:
            message = number()
            await call.write(message)
            return [label(message)]

        async def done_writing() -> Carried:
            await call.done_writing()
            return []

        async def rest() -> Carried:
            await within(call.done_writing())
            end = await within(call) if shape == "stream_unary" else await within(call.read())
            assert end in (b"", EOF)
            return []

        async def carried() -> Carried:
            return received

        yield Subject(
            call, call, {"write": write, "done_writing": done_writing}, gate, rest, carried
        )


@asynccontextmanager
async def aio_server_writes(
    mode: Any, shape: str, *, kind: str = "coroutine", by_hand: bool = False
) -> AsyncIterator[Subject]:
    """A handler that lends its context to other tasks, and yields what it is told to."""
    number, gate, done, yielding = numbered(), AsyncGate(), AsyncGate(), AsyncGate()
    lent = asyncio.get_running_loop().create_future()
    orders: asyncio.Queue[Any] = asyncio.Queue()

    async def coroutine(request: Any, context: Any) -> None:
        lent.set_result(wrap(context, mode=mode) if by_hand else context)
        await done.park()

    async def async_generator(request: Any, context: Any) -> Any:
        lent.set_result(context)
        while (order := await orders.get()) is not None:
            message = number()
            yielding.arrive()
            try:
                yield message
            except ConcurrencyError as refusal:
                order.set_exception(refusal)
            except BaseException as error:
                order.set_exception(error)
                raise
            else:
                order.set_result([label(message)])

    behavior = coroutine if kind == "coroutine" else async_generator
    async with (
        aio_server({"Stream": handler(shape, behavior)}, mode=None if by_hand else mode) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else [])
        context = await within(lent)

        async def collect() -> Carried:
            try:
                await gate.park()
            except Lost:
                call.cancel()
            return [label(message) async for message in call]

        collector = asyncio.create_task(collect())

        async def write() -> Carried:
            message = number()
            await context.write(message)
            return [label(message)]

        async def order() -> Carried:
            outcome = asyncio.get_running_loop().create_future()
            orders.put_nowait(outcome)
            return await outcome

        async def rest() -> Carried:
            done.open()
            orders.put_nowait(None)
            await within(collector)
            return []

        async def carried() -> Carried:
            return await within(collector)

        yield Subject(
            context,
            context,
            {"context.write": write, "yield": order},
            gate,
            rest,
            carried,
            {"yield": yielding},
        )


@asynccontextmanager
async def sync_server_sends(mode: Any, shape: str) -> AsyncIterator[Subject]:
    """A non-blocking handler: it is given a callback to send with, and returns at once."""
    gate = Gate()
    lent: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def lend(request: Any, context: Any, send_response: Any) -> None:
        lent.set_result((context, send_response))

    lend.experimental_non_blocking = True  # type: ignore[attr-defined]
    method = handler(shape, lend, response_serializer=gate.park_at(MESSAGES[0]))
    with (
        sync_server({"Stream": method}, mode=mode) as address,
        sync_channel(address, mode=None) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else iter(()))
        received = in_thread(list, call, name="peer").as_future()
        context, send_response = await within(asyncio.wrap_future(lent))
        messages = iter(MESSAGES)

        def send() -> Carried:
            message = next(messages)
            send_response(message)
            return [message]

        async def rest() -> Carried:
            send_response(None)
            return []

        async def carried() -> Carried:
            return await within(received)

        try:
            yield Subject(
                context,
                context,
                {"send_response": send},
                gate,
                rest,
                carried,
                {"send_response": gate},
            )
        finally:
            gate.open()
            call.cancel()
