"""Handlers of a guarded aio server run, fail and end as on a plain one."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import _close
from support.comparison import AioWorld, same_as_plain, what, what_async
from support.services import STREAMING, Status, drain, handled_async
from support.staging import AsyncGate, path, within


@same_as_plain
async def test_failing_handlers(world: AioWorld) -> AsyncIterator[Any]:
    """abort(), abort_with_status(), set_code() and exceptions reach the client as before."""
    logs = world.logs()

    async def abort(context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone", (("key", "value"),))

    async def abort_with_status(context: Any) -> None:
        metadata = (("key", "value"),)
        await context.abort_with_status(Status(grpc.StatusCode.DATA_LOSS, "lost", metadata))

    async def abort_twice(context: Any) -> None:
        await what_async(context.abort(grpc.StatusCode.NOT_FOUND, "gone"))
        await context.abort(grpc.StatusCode.NOT_FOUND, "again")

    async def hide_abort(context: Any) -> None:
        await what_async(context.abort(grpc.StatusCode.NOT_FOUND, "gone"))

    async def set_code(context: Any) -> None:
        context.set_code(grpc.StatusCode.ABORTED)
        context.set_details("by code")

    async def fail(context: Any) -> None:
        raise ValueError("broken")

    async def cancel(context: Any) -> None:
        raise asyncio.CancelledError

    for break_off in (abort, abort_with_status, abort_twice, hide_abort, set_code, fail):

        async def by_yield(request: Any, context: Any) -> AsyncIterator[bytes]:
            await drain(request)
            yield b"1"
            await break_off(context)

        async def by_write(request: Any, context: Any) -> None:
            await drain(request)
            await context.write(b"1")
            await break_off(context)

        async def single(requests: Any, context: Any) -> bytes:
            await drain(requests)
            await break_off(context)
            return b"1"

        for shape in ("unary_stream", "stream_stream"):
            for handler in (by_yield, by_write):
                yield break_off.__name__, await handled_async(world, shape, handler)
        yield break_off.__name__, await handled_async(world, "stream_unary", single)
    yield [line[:3] for line in logs]


@same_as_plain
async def test_a_client_that_goes_away(world: AioWorld) -> AsyncIterator[Any]:
    """A handler whose client cancels is cancelled where it waits; finally and callbacks run."""
    seen: list[Any] = []
    waiting, ended = asyncio.Event(), asyncio.Event()

    def begin(context: Any) -> None:
        waiting.clear()
        ended.clear()
        context.add_done_callback(lambda done: seen.append(("done", done.cancelled())))
        context.add_done_callback(lambda done: ended.set())

    async def hold(place: str) -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            seen.append((place, type(error)))
            raise
        finally:
            await asyncio.sleep(0)
            seen.append((place, "finally"))

    async def by_yield(requests: Any, context: Any) -> AsyncIterator[bytes]:
        begin(context)
        yield b"1"
        await hold("yield")

    async def by_write(requests: Any, context: Any) -> None:
        begin(context)
        await context.write(b"1")
        await hold("write")

    async def by_read(requests: Any, context: Any) -> None:
        begin(context)
        await context.write(b"1")
        waiting.set()
        told = await what_async(context.read())
        # The core reports the end of the requests and the cancellation, in any order.
        assert told is grpc.aio.EOF or isinstance(told, asyncio.CancelledError)
        seen.append(("read", "told"))

    async def by_for(requests: Any, context: Any) -> AsyncIterator[bytes]:
        begin(context)
        yield b"1"
        waiting.set()
        try:
            async for _ in requests:
                pass
        finally:
            seen.append(("for", "finally"))

    for behavior in (by_yield, by_write, by_read, by_for):
        channel = await world.channel({"Hold": STREAMING["stream_stream"](behavior)})
        call = channel.stream_stream(path("Hold"))()
        yield await call.read()
        await within(waiting.wait())
        call.cancel()
        await within(ended.wait())
        yield list(seen)
        seen.clear()


@same_as_plain
async def test_the_end_of_a_generator(world: AioWorld) -> AsyncIterator[Any]:
    """The finally of an async generator runs before the client sees the end of its RPC."""
    seen: list[str] = []
    ended = asyncio.Event()

    def handler(end: Callable[[Any], Any]) -> Callable[..., Any]:
        async def behavior(request: bytes, context: Any) -> AsyncIterator[bytes]:
            context.add_done_callback(lambda done: seen.append("callback"))
            context.add_done_callback(lambda done: ended.set())
            try:
                yield b"1"
                await end(context)
            finally:
                seen.append("finally")
                await asyncio.sleep(0)
                seen.append("finally, later")

        return behavior

    async def regular(context: Any) -> None:
        pass

    async def fail(context: Any) -> None:
        raise ValueError

    async def abort(context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    world.logs()
    for end in (regular, fail, abort):
        yield await handled_async(world, "unary_stream", handler(end))
        await within(ended.wait())
        ended.clear()
        yield list(seen)
        seen.clear()


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@same_as_plain
async def test_where_a_handler_runs(world: AioWorld) -> AsyncIterator[Any]:
    """Handlers and callbacks run in the tasks, threads and contexts of before."""
    seen: list[Any] = []
    ended = asyncio.Event()

    def note(place: str) -> None:
        thread = threading.current_thread().name.rstrip("0123456789")
        task = asyncio.current_task().get_name() if thread == "MainThread" else None
        seen.append((place, thread, task, VARIABLE.get()))
        VARIABLE.set(place)

    async def by_yield(requests: Any, context: Any) -> AsyncIterator[bytes]:
        note("start")
        context.add_done_callback(lambda done: ended.set())
        async for request in requests:
            note("request")
            yield request
            note("after a yield")

    async def single(requests: Any, context: Any) -> bytes:
        note("single")
        return b"".join([request async for request in requests])

    def in_pool(requests: Any, context: Any) -> Iterator[bytes]:
        note("pool")
        yield from requests
        note("pool's end")

    yield (
        await handled_async(world, "stream_stream", by_yield),
        await handled_async(world, "stream_unary", single),
    )
    yield await handled_async(world, "stream_stream", in_pool)
    await within(ended.wait())
    yield seen


class Servicer:
    """Handlers as methods and callable objects."""

    async def method(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"method"

    async def writer(self, request: bytes, context: Any) -> None:
        await context.write(b"writer")

    @staticmethod
    async def static(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"static method"

    def __call__(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"callable object"


@same_as_plain
async def test_the_kinds_of_handlers(world: AioWorld) -> AsyncIterator[Any]:
    """Any callable can be a handler, and runs where it runs without the guard."""
    servicer = Servicer()

    @functools.wraps(servicer.method)
    def decorated(*args: Any) -> Any:
        return servicer(*args)

    async def with_option(option: bytes, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield option

    methods = (servicer.method, servicer.writer, servicer.static, servicer, decorated)
    partials = (functools.partial(with_option, b"option"), functools.partial(servicer.writer))
    for behavior in (*methods, *partials):
        yield await handled_async(world, "unary_stream", behavior)


@same_as_plain
async def test_a_handler_in_the_pool(world: AioWorld) -> AsyncIterator[Any]:
    """A sync handler in the thread pool of an aio server gets the context it got before."""
    logs = world.logs()
    seen: list[Any] = []

    def look(context: Any) -> Iterator[Any]:
        yield context.time_remaining(), context.add_callback(lambda: seen.append("callback"))
        yield context.peer(), context.peer_identities(), context.peer_identity_key()
        yield context.auth_context(), len(context.invocation_metadata()) > 0
        yield what(context.set_compression, grpc.Compression.Gzip)
        yield context.send_initial_metadata((("key", "initial"),))
        yield context.set_trailing_metadata((("key", "value"),))
        yield context.disable_next_message_compression()
        yield context.set_code(grpc.StatusCode.OK), context.set_details("fine")
        for name in ("is_active", "cancel", "code", "details", "abort_with_status"):
            yield name, hasattr(context, name), type(what(getattr, context, name))

    def responses(request: Any, context: Any) -> Iterator[bytes]:
        if hasattr(request, "__next__"):  # see drain()
            list(request)
        seen.append(list(look(context)))
        yield b"1"

    def single(requests: Any, context: Any) -> bytes:
        assert iter(requests) is requests
        first, *rest = requests
        seen.append([first, rest, next(requests, None), *look(context)])
        return b"1"

    def aborting(requests: Any, context: Any) -> bytes:
        list(requests)
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    for shape in STREAMING:
        yield (
            shape,
            await handled_async(world, shape, single if shape == "stream_unary" else responses),
        )
        yield shape, list(seen)
        seen.clear()
    yield await handled_async(world, "stream_unary", aborting), [line[:3] for line in logs]


async def test_closing_a_generator_that_will_not_end() -> None:
    """What asyncio says of a generator that goes on after it was closed is said guarded too."""

    async def stubborn() -> AsyncIterator[bytes]:
        try:
            yield b"1"
        finally:
            yield b"2"

    generator = stubborn()
    await anext(generator)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await _close(generator)


async def test_closing_a_generator_that_is_being_closed() -> None:
    """A generator that the loop closes as it shuts down is left to it."""
    gate = AsyncGate()

    async def slow() -> AsyncIterator[bytes]:
        try:
            yield b"1"
        finally:
            await gate.park()

    generator = slow()
    await anext(generator)
    closing = asyncio.create_task(generator.aclose())
    async with gate.held():
        await _close(generator)
        assert not closing.done()
    await closing
