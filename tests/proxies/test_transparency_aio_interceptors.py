"""Interceptors of ``grpc.aio`` see and do what they saw and did before."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparison import AioWorld, same_as_plain, what, what_async
from support.services import AioService
from support.staging import aio_channel, aio_server, path, within

from grpc_guard import ConcurrencyError


class _AioInterceptor:
    def __init__(self, seen: list[Any], change: bool) -> None:
        self.seen = seen
        self.change = change

    async def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        self.seen.append((details.method, details.timeout, type(request).__name__ != "bytes"))
        call = await continuation(details, request)
        self.seen.append(isinstance(call, grpc.aio.Call))
        return self._changed(call) if self.change and hasattr(call, "read") else call

    async def _changed(self, call: Any) -> AsyncIterator[bytes]:
        async for response in call:
            yield response + b"!"

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _intercept


class OfUnaryStream(_AioInterceptor, grpc.aio.UnaryStreamClientInterceptor):
    """Intercepts one shape."""


class OfStreamUnary(_AioInterceptor, grpc.aio.StreamUnaryClientInterceptor):
    """Intercepts one shape."""


class OfStreamStream(_AioInterceptor, grpc.aio.StreamStreamClientInterceptor):
    """Intercepts one shape."""


async def _intercepted(world: AioWorld, change: bool) -> AsyncIterator[Any]:
    seen: list[Any] = []
    interceptors = [kind(seen, change) for kind in (OfUnaryStream, OfStreamUnary, OfStreamStream)]
    address = await world.serve(AioService().methods())
    channel = await world.connect(address, interceptors=interceptors)
    numbers, echo = channel.unary_stream(path("Numbers")), channel.stream_stream(path("Echo"))
    call = numbers(b"2", timeout=100)
    yield [message async for message in call], await call.code(), await call.details()
    yield await call.initial_metadata(), await call.trailing_metadata(), call.done()
    call = numbers(b"2")
    yield [await what_async(call.read()) for _ in range(4)], what(call.time_remaining)
    yield [message async for message in echo([b"a", b"b"])]
    call = echo()
    operations = call.write(b""), call.read(), call.done_writing()
    for operation in operations:
        operation.close()
    yield [operation.__name__ for operation in operations]
    yield await call.write(b"a"), await call.read(), await call.write(b"b"), await call.read()
    yield await call.done_writing(), await what_async(call.read())
    yield await what_async(call.write(b"late")), call.done(), repr(type(call.code))
    count = channel.stream_unary(path("Count"))
    yield await count([b"a"]), await count(letter for letter in (b"a", b"b"))
    call = count()
    yield await call.write(b"a"), await call.done_writing(), await call
    called: list[Any] = []
    call = numbers(b"1")
    call.add_done_callback(lambda done: called.append((done is call, done == call)))
    yield [message async for message in call], await call.code(), called
    call = channel.unary_stream(path("Hold"))(b"")
    yield await call.read(), call.cancel(), await what_async(call.read()), call.cancelled()
    error = await what_async(channel.unary_stream(path("Fail"))(b"abort").__aiter__().__anext__())
    yield error, seen


@same_as_plain
async def test_intercepting_an_aio_client(world: AioWorld) -> AsyncIterator[Any]:
    """A client interceptor inside of the guard sees the RPCs it saw."""
    async for fact in _intercepted(world, change=False):
        yield fact


@same_as_plain
async def test_intercepting_the_responses_of_an_aio_client(world: AioWorld) -> AsyncIterator[Any]:
    """A client interceptor inside of the guard may put a generator in the place of the call."""
    async for fact in _intercepted(world, change=True):
        yield fact


class AioServerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the behaviour of streaming handlers, and notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is not None:
            return handler
        name = next(
            name
            for name in ("unary_stream", "stream_unary", "stream_stream")
            if getattr(handler, name) is not None
        )
        behavior = getattr(handler, name)
        kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, callable)
        self.seen.append((details.method, behavior.__name__, [kind(behavior) for kind in kinds]))
        return handler._replace(**{name: self._wrapped(behavior)})

    def _wrapped(self, behavior: Any) -> Any:
        async def respond(request: Any, context: Any) -> AsyncIterator[bytes]:
            responses = behavior(request, context)
            self.seen.append(inspect.isasyncgen(responses))
            async for response in responses:
                yield response + b"!"

        async def run(request: Any, context: Any) -> Any:
            return await behavior(request, context)

        return respond if inspect.isasyncgenfunction(behavior) else run


@same_as_plain
async def test_intercepting_an_aio_server(world: AioWorld) -> AsyncIterator[Any]:
    """A server interceptor wraps handlers as before, and gets each message that they yield."""
    interceptor = AioServerInterceptor()
    address = await world.serve(AioService().methods(), interceptors=[interceptor])
    channel = await world.connect(address)
    yield [message async for message in channel.unary_stream(path("Numbers"))(b"2")]
    yield [message async for message in channel.stream_stream(path("Echo"))([b"a", b"b"])]
    yield await channel.stream_unary(path("Count"))([b"a"])
    call = channel.unary_stream(path("Fail"))(b"abort")
    yield await call.read(), await what_async(call.read()), interceptor.seen


@same_as_plain
async def test_driving_the_generator_of_an_aio_handler(world: AioWorld) -> AsyncIterator[Any]:
    """Asend(), athrow() and aclose() of a handler's generator reach it where it yields."""
    seen: list[Any] = []

    async def handler(request: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            seen.append((yield b"1"))
            yield b"2"
        except ValueError as error:
            seen.append(error)
            yield b"caught"
        finally:
            seen.append("finally")

    class Driver(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            plain = await continuation(details)

            async def drive(request: Any, context: Any) -> AsyncIterator[bytes]:
                responses = plain.unary_stream(request, context)
                yield await anext(responses)
                yield await responses.asend("sent")
                yield await responses.athrow(ValueError("thrown"))
                await responses.aclose()

            return plain._replace(unary_stream=drive)

    methods = {"Drive": grpc.unary_stream_rpc_method_handler(handler)}
    channel = await world.connect(await world.serve(methods, interceptors=[Driver()]))
    call = channel.unary_stream(path("Drive"))(b"")
    yield [await what_async(call.read()) for _ in range(4)], seen


class Taking(grpc.aio.ServerInterceptor):
    """Takes two responses of the handler, and closes its generator in the task of the RPC."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        respond = (await continuation(details)).unary_stream

        async def first_two(request: Any, context: Any) -> AsyncIterator[bytes]:
            taken = 0
            async with contextlib.aclosing(respond(request, context)) as responses:
                async for response in responses:
                    yield response
                    taken += 1
                    if taken == 2:
                        break

        return grpc.unary_stream_rpc_method_handler(first_two)


async def test_an_interceptor_that_closes_a_handler(found: Any) -> None:
    """The RPC lives: the handler may use its context up to its end, as without the guard."""
    contexts: list[Any] = []

    async def numbers(request: Any, context: Any) -> AsyncIterator[bytes]:
        contexts.append(context)
        try:
            for number in range(5):
                yield b"%d" % number
        finally:
            await context.write(b"bye " + context.peer()[:4].encode())

    methods = {"Numbers": grpc.unary_stream_rpc_method_handler(numbers)}
    async with (
        aio_server(methods, interceptors=[Taking()]) as address,
        aio_channel(address) as channel,
    ):
        call = channel.unary_stream(path("Numbers"))(b"")
        received = [await within(call.read()) for _ in range(4)]
        assert received == [b"0", b"1", b"bye ipv4", grpc.aio.EOF]
        assert found() == []
        with pytest.raises(ConcurrencyError, match="handler-returned"):
            await contexts[0].write(b"")
    assert [finding.rule for finding in found()] == ["handler-returned"]
