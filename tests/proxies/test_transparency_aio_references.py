"""The guard keeps nothing of grpc.aio alive, and ends nothing early.

The cyclic garbage collector is off in these tests.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from support.comparison import (
    AioWorld,
    Note,
    left_since,
    leftovers,
    no_collector,
    same_as_plain,
)
from support.services import AioService
from support.staging import PATIENCE, path, settle, within


@same_as_plain
async def test_dropping_an_aio_call(world: AioWorld) -> AsyncIterator[Any]:
    """An aio call without references ends, or continues, as the plain one does."""
    service = AioService()
    channel = await world.channel(service.methods())

    async def requests() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(PATIENCE)

    starts: dict[str, Callable[[], Any]] = {
        "unary-stream": lambda: channel.unary_stream(path("Hold"))(b""),
        "by write": lambda: channel.stream_stream(path("Echo"))(),
        "by iterator": lambda: channel.stream_stream(path("Echo"))(requests()),
    }
    with no_collector():
        for kind, start in starts.items():
            service.cancelled.clear()
            call = start()
            if kind == "by write":
                await call.write(b"a")
            await call.read()
            rpc, reference = call._cython_call, weakref.ref(getattr(call, "__wrapped__", call))
            del call
            await settle()
            yield kind, reference() is None, rpc.done(), rpc.cancelled()
            rpc.cancel("by the test")
            await within(service.cancelled.wait())


@same_as_plain
async def test_dropping_an_aio_message(world: AioWorld) -> AsyncIterator[Any]:
    """A message dies with the reader's last reference to it."""
    channel = await world.channel(AioService().methods())
    start = channel.unary_stream(path("Numbers"), response_deserializer=lambda _: Note())
    with no_collector():
        call, messages = start(b"3"), aiter(start(b"3"))
        for step in (call.read, call.read, messages.__anext__, messages.__anext__):
            message = await step()
            reference = weakref.ref(message)
            del message
            yield reference() is None


BULK = bytes(4 << 20)  # more than any window takes in: its write waits for the reader


@same_as_plain
async def test_the_end_of_an_aio_request_generator(world: AioWorld) -> AsyncIterator[Any]:
    """A request generator that is not sent to its end is closed when the RPC is over."""
    seen: list[str] = []
    sent, closed = asyncio.Event(), asyncio.Event()

    async def requests(message: bytes) -> AsyncIterator[bytes]:
        try:
            yield message
            seen.append("sent")
            sent.set()
            await asyncio.sleep(PATIENCE)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            seen.append("finally")
            await asyncio.sleep(0)
            closed.set()

    async def hold(requests: Any, context: Any) -> None:
        await asyncio.sleep(PATIENCE)

    service = AioService()
    methods = service.methods()
    methods["Deaf"] = grpc.stream_stream_rpc_method_handler(hold)
    channel = await world.channel(methods)
    with no_collector():
        call = channel.stream_stream(path("Echo"))(requests(b"a"))
        yield await call.read()
        await within(sent.wait())
        call.cancel()
        await within(closed.wait())
        yield "between writes", list(seen)
        seen.clear()
        closed.clear()
        call = channel.stream_stream(path("Deaf"))(requests(BULK))
        await call.wait_for_connection()
        for _ in range(3):
            await settle()
        call.cancel()
        await within(closed.wait())
        yield "in a write", list(seen)


@same_as_plain
async def test_the_end_of_an_aio_response_generator(world: AioWorld) -> AsyncIterator[Any]:
    """A response generator that is cancelled in a write is closed, before or after callbacks."""
    seen: list[str] = []
    started, closed, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(request: bytes, context: Any) -> AsyncIterator[bytes]:
        context.add_done_callback(lambda context: done.set())
        try:
            started.set()
            yield BULK
            seen.append("sent")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise
        finally:
            seen.append("finally")
            try:
                await asyncio.sleep(0)
                seen.append("finally, later")
            finally:
                closed.set()

    channel = await world.channel({"Feed": grpc.unary_stream_rpc_method_handler(handler)})
    with no_collector():
        call = channel.unary_stream(path("Feed"))(b"")
        await within(started.wait())
        call.cancel()
        await within(done.wait())
        await within(closed.wait())
        # Where the core calls the write sent, it cancels the handler at any later step: its race.
        in_full = ["GeneratorExit", "finally", "finally, later"]
        yield seen[:2] == ["sent", "finally"] or seen == in_full


@same_as_plain
async def test_what_is_left_of_many_aio_calls(world: AioWorld) -> AsyncIterator[Any]:
    """After channels and servers are closed, no more is left of an RPC than of a plain one."""
    await world.channel({})  # what grpc.aio makes once is there before
    with no_collector():
        before = leftovers()
        channel = await world.channel(AioService().methods())
        for _ in range(3):
            call = channel.unary_stream(path("Numbers"))(b"2")
            while await call.read() is not grpc.aio.EOF:
                pass
            call = channel.stream_stream(path("Echo"))()
            await call.write(b"a")
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
            await channel.stream_unary(path("Count"))([b"a", b"b"])
            await channel.stream_unary(path("Count"))(item for item in (b"a", b"b"))
        del channel, call
        await world.close()
        await settle()
        left = left_since(before)
        # An older grpcio leaves it to the collector, and with it the records of its streams.
        if "grpc.aio._channel.Channel" in left:
            left.pop("grpc_guard._core.stream.Stream", None)
        yield left
