"""Handlers of a guarded aio server see what they see on a plain one."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
from support.comparison import AioWorld, same_as_plain, what, what_async
from support.services import STREAMING, drain, handled_async
from support.staging import within


@same_as_plain
async def test_the_context_of_a_handler(world: AioWorld) -> AsyncIterator[Any]:
    """Every method of the context gives the handler of each shape what it gave before."""
    seen: list[Any] = []

    async def look(context: Any) -> AsyncIterator[Any]:
        yield context.done(), context.cancelled(), context.time_remaining()
        yield context.peer(), context.peer_identities(), context.peer_identity_key()
        yield context.auth_context()
        yield [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
        yield context.set_trailing_metadata((("key", "value"),)), context.trailing_metadata()
        yield await context.send_initial_metadata((("key", "initial"),))
        yield await what_async(context.send_initial_metadata(()))
        yield what(context.set_compression, grpc.Compression.Gzip)
        yield context.disable_next_message_compression()
        yield context.set_code(grpc.StatusCode.DATA_LOSS), context.code()
        yield context.set_details("lost"), context.details()
        yield what(context.set_details, 1), what(context.set_trailing_metadata, "nonsense")
        yield context.add_done_callback(callback=lambda done: None)

    async def responses(request: Any, context: Any) -> AsyncIterator[bytes]:
        await drain(request)
        seen.append([fact async for fact in look(context)])
        yield b"1"

    async def single(request: Any, context: Any) -> bytes:
        await drain(request)
        seen.append([fact async for fact in look(context)])
        return b"1"

    for shape in STREAMING:
        yield (
            shape,
            await handled_async(world, shape, single if shape == "stream_unary" else responses),
        )
        yield shape, seen.pop()


@same_as_plain
async def test_callbacks_of_a_context(world: AioWorld) -> AsyncIterator[Any]:
    """Done-callbacks get the context once the RPC has ended, and may look at it."""
    logs = world.logs()
    seen: list[Any] = []
    kept: list[Any] = []
    ended = asyncio.Event()

    def note(context: Any) -> None:
        seen.append((context is kept[0], context == kept[0], context.code(), context.done()))
        seen.append((context.cancelled(), context.details(), context.trailing_metadata()))

    def fail(context: Any) -> None:
        ended.set()
        raise ValueError("broken callback")

    async def handler(requests: Any, context: Any) -> AsyncIterator[bytes]:
        kept.append(context)
        context.add_done_callback(note)
        context.add_done_callback(fail)
        context.set_trailing_metadata((("key", "value"),))
        yield b"1"

    yield await handled_async(world, "unary_stream", handler)
    await within(ended.wait())
    yield seen, logs


@same_as_plain
async def test_reading_the_requests(world: AioWorld) -> AsyncIterator[Any]:
    """The requests are read by read(), by async for, or by the one after the other."""

    async def by_read(requests: Any, context: Any) -> bytes:
        return repr([await context.read() for _ in range(4)]).encode()

    async def by_for(requests: Any, context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def by_anext(requests: Any, context: Any) -> bytes:
        first = await requests.__anext__()
        messages = aiter(requests)
        assert aiter(requests) is messages
        assert inspect.isasyncgen(messages)
        return first + await anext(messages) + await anext(messages, b"-")

    async def by_both(requests: Any, context: Any) -> bytes:
        return await context.read() + await anext(aiter(requests)) + bytes(not await context.read())

    async def past_the_end(requests: Any, context: Any) -> bytes:
        first = [request async for request in requests]
        again = [request async for request in requests]
        return repr([first, again, type(await what_async(anext(aiter(requests))))]).encode()

    async def in_breaks(requests: Any, context: Any) -> bytes:
        async for _ in requests:
            break
        return b"".join([request async for request in requests])

    for handler in (by_read, by_for, by_anext, by_both, past_the_end, in_breaks):
        yield handler.__name__, await handled_async(world, "stream_unary", handler)


@same_as_plain
async def test_the_ways_to_respond(world: AioWorld) -> AsyncIterator[Any]:
    """Handlers of every style respond, on the loop or in the pool."""
    logs = world.logs()

    async def by_yield(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"

    async def by_write(request: Any, context: Any) -> None:
        await context.write(b"1")
        await context.write(message=b"2")

    async def by_both(request: Any, context: Any) -> AsyncIterator[bytes]:
        await context.write(b"0")
        yield b"1"
        await context.write(b"2")
        yield b"3"

    def by_generator(request: Any, context: Any) -> Iterator[bytes]:
        yield b"1"
        yield b"2"

    def by_iterator(request: Any, context: Any) -> Iterator[bytes]:
        return iter([b"1", b"2"])

    async def nothing(request: Any, context: Any) -> None:
        pass

    async def a_value(request: Any, context: Any) -> bytes:
        return b"ignored"

    def no_iterator(request: Any, context: Any) -> int:
        return 42

    def no_text(requests: Any, context: Any) -> int:
        return len(list(requests))

    def a_list(request: Any, context: Any) -> list[bytes]:
        return [b"1", b"2"]

    async def no_message(request: Any, context: Any) -> AsyncIterator[Any]:
        yield 42

    by_all = (by_yield, by_write, by_both, by_generator, by_iterator, nothing, a_value)
    for handler in (*by_all, no_iterator, a_list, no_message):
        yield handler.__name__, await handled_async(world, "unary_stream", handler)
    yield await handled_async(world, "stream_unary", lambda requests, context: b"".join(requests))
    yield await handled_async(world, "stream_unary", no_text)
    yield logs
