"""A guarded aio call looks and acts like a plain one: reading, writing, sending."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import inspect
import re
import types
import warnings
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from support.comparison import AioWorld, kind, same_as_plain, what, what_async
from support.services import AioService, ending_async
from support.staging import path, within


@same_as_plain
async def test_reading_to_the_end(world: AioWorld) -> AsyncIterator[Any]:
    """read() gives all messages in order and then EOF, and the ended call shows its status."""
    channel = await world.channel(AioService().methods())
    call = channel.unary_stream(path("Numbers"))(b"3")
    yield await call.initial_metadata(), call.done(), call.time_remaining(), repr(call)
    while (message := await call.read()) is not grpc.aio.EOF:
        yield message
    async for fact in ending_async(call):
        yield fact


@same_as_plain
async def test_iterating_to_the_end(world: AioWorld) -> AsyncIterator[Any]:
    """Async for gives all messages in order, and the ended call shows its status."""
    channel = await world.channel(AioService().methods())
    call = channel.unary_stream(path("Numbers"))(b"3", timeout=1000)
    yield 900 < call.time_remaining() < 1000
    async for message in call:
        yield message
    async for message in call:
        yield "again", message
    yield "messages", [message async for message in call]


@same_as_plain
async def test_iteration_helpers(world: AioWorld) -> AsyncIterator[Any]:
    """Every way to iterate over an async iterable gives the same as on the plain call."""
    start = (await world.channel(AioService().methods())).unary_stream(path("Numbers"))
    call = start(b"4")
    messages = aiter(call)
    yield (
        "aiter",
        aiter(call) is messages,
        call.__aiter__() is messages,
        aiter(messages) is messages,
    )
    yield "kinds", inspect.isasyncgen(messages), isinstance(messages, types.AsyncGeneratorType)
    yield "anext", await anext(messages), await messages.__anext__(), await messages.asend(None)
    yield "awaitable", inspect.isawaitable(step := anext(messages)), await step
    yield "default", await anext(messages, "default"), await what_async(anext(messages))
    yield "comprehension", [message async for message in start(b"2")]
    yield "set", sorted({message async for message in start(b"2")})
    call = start(b"4")
    async for _ in call:
        break
    async for message in call:
        yield "after break", message
    else:
        yield "else"
    call = start(b"4")
    messages = aiter(call)
    yield "wait_for", await asyncio.wait_for(messages.__anext__(), 10)
    yield "task", await asyncio.ensure_future(messages.__anext__())
    yield "gather", await asyncio.gather(messages.__anext__())
    yield "aclose", await messages.aclose(), await anext(messages, "closed"), call.cancel()
    messages = aiter(start(b"4"))
    await anext(messages)
    yield "athrow", await what_async(messages.athrow(ValueError("thrown")))
    yield "closed", await anext(messages, "closed")


@same_as_plain
async def test_a_call_as_a_member(world: AioWorld) -> AsyncIterator[Any]:
    """A call is hashed and compared by identity, in sets and as a key."""
    start = (await world.channel(AioService().methods())).unary_stream(path("Numbers"))
    call, other = start(b"1"), start(b"1")
    yield call == call, call == other, call != other, call == 1, call is None
    yield {call: "value"}.get(call), {call, other} == {call}, hash(call) == hash(other)
    yield kind(lambda: call < other), kind(len, call), kind(iter, call)


@same_as_plain
async def test_mixing_the_styles_of_reading(world: AioWorld) -> AsyncIterator[Any]:
    """read() and async for on one call is refused by grpcio, with its own words."""
    start = (await world.channel(AioService().methods())).unary_stream(path("Hold"))
    call = start(b"")
    yield await call.read(), what(call.__aiter__), call.cancel()
    call = start(b"")
    yield await anext(aiter(call)), await what_async(call.read()), call.cancel()


@same_as_plain
async def test_mixing_the_styles_of_writing(world: AioWorld) -> AsyncIterator[Any]:
    """write() on a call that sends an iterator is refused by grpcio, with its own words."""
    channel = await world.channel(AioService().methods())
    for start in (channel.stream_stream(path("Echo")), channel.stream_unary(path("Count"))):
        call = start(iter([b"a"]))
        yield await what_async(call.write(b"b")), await what_async(call.done_writing())
        yield call.cancel()


class LastingService(AioService):
    """One whose Echo ends when it may: of a call that is over, grpcio would say that instead."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = asyncio.Event()

    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in super().echo(requests, context):
            yield message
        await within(self.may_end.wait())


@same_as_plain
async def test_writing_to_the_end(world: AioWorld) -> AsyncIterator[Any]:
    """write() and done_writing() send in order; afterwards grpcio refuses in its own words."""
    service = LastingService()
    call = (await world.channel(service.methods())).stream_stream(path("Echo"))()
    for message in (b"a", b"b"):
        yield await call.write(message), await call.read()
    yield await call.write(request=b"c"), await call.read()
    yield await call.done_writing(), await call.done_writing()
    yield await what_async(call.write(b"d"))
    service.may_end.set()
    yield await call.read()
    async for fact in ending_async(call):
        yield fact


@same_as_plain
async def test_a_single_response(world: AioWorld) -> AsyncIterator[Any]:
    """A stream-unary call is awaited, by hand or by asyncio, as often as one likes."""
    count = (await world.channel(AioService().methods())).stream_unary(path("Count"))
    call = count()
    yield await call.write(b"a"), await call.write(b"b"), await call.done_writing()
    yield await call, await call, inspect.isawaitable(call), inspect.iscoroutine(call)
    async for fact in ending_async(call):
        yield fact
    for awaiting in (asyncio.gather, asyncio.ensure_future):
        yield await awaiting(count(iter([b"a"])))
    yield await asyncio.wait_for(count(iter([b"a"])), 10), await asyncio.shield(count(iter([])))
    done, _ = await asyncio.wait({asyncio.ensure_future(count(iter([b"a"])))})
    yield done.pop().result()
    yield isinstance(count(iter([])), collections.abc.Awaitable)


class Requests:
    """An async iterable, and an async iterator, of two messages."""

    def __init__(self) -> None:
        self._messages = [b"a", b"b"]

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> bytes:
        if not self._messages:
            raise StopAsyncIteration
        return self._messages.pop(0)


@same_as_plain
async def test_sending_from_an_iterator(world: AioWorld) -> AsyncIterator[Any]:
    """Request iterators and iterables of every kind, sync and async, are sent to their end."""
    channel = await world.channel(AioService().methods())
    echo, count = channel.stream_stream(path("Echo")), channel.stream_unary(path("Count"))

    async def generate() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    class Iterable:
        def __aiter__(self) -> AsyncIterator[bytes]:
            return generate()

    kinds = {
        "async generator": generate,
        "async iterator": Requests,
        "async iterable": Iterable,
        "call": lambda: channel.unary_stream(path("Numbers"))(b"2"),
        "list": lambda: [b"a", b"b"],
        "tuple": lambda: (b"a", b"b"),
        "iterator": lambda: iter([b"a", b"b"]),
        "generator": lambda: (item for item in (b"a", b"b")),
        "empty": list,
    }
    for name, make in kinds.items():
        yield name, [message async for message in echo(make())]
        yield name, [message async for message in echo(request_iterator=make())]
        yield kind, await count(make()), await count(request_iterator=make())


@same_as_plain
async def test_arguments_of_a_call(world: AioWorld) -> AsyncIterator[Any]:
    """Timeout, metadata, credentials, readiness and compression reach gRPC, by name or not."""
    service = AioService()
    channel = await world.channel(service.methods())
    numbers, count = channel.unary_stream(path("Numbers")), channel.stream_unary(path("Count"))
    metadata = grpc.aio.Metadata(("mine", "1"), ("mine-bin", b"\0"))
    gzip = grpc.Compression.Gzip
    options = {"metadata": metadata, "compression": gzip, "wait_for_ready": True}
    yield [message async for message in numbers(b"1", timeout=10, **options)]
    yield [message async for message in numbers(request=b"1", metadata=tuple(metadata))]
    yield await count([b"a"], 10, metadata, None, True, gzip), await count([b"a"], **options)
    yield [[pair for pair in seen if pair[0] != "user-agent"] for seen in service.seen]
    token = grpc.access_token_call_credentials("token")
    yield what(numbers, b"1", credentials=token), what(count, [], credentials=token)
    yield type(what(numbers)), what(numbers, b"1", nonsense=1), what(count, [], nonsense=1)
    nobody = await world.connect("127.0.0.1:1")
    error = await what_async(nobody.unary_stream(path("Numbers"))(b"1", timeout=10).read())
    yield error.code()
    ready = nobody.unary_stream(path("Numbers"))(b"1", timeout=0.1, wait_for_ready=True)
    yield await what_async(ready.read())


@same_as_plain
async def test_a_connection(world: AioWorld) -> AsyncIterator[Any]:
    """wait_for_connection() returns for each shape, and then the RPC goes on."""
    channel = await world.channel(AioService().methods())
    call = channel.stream_stream(path("Echo"))()
    yield await call.wait_for_connection(), await call.write(b"a"), await call.read()
    call = channel.stream_unary(path("Count"))()
    yield await call.wait_for_connection(), await call.done_writing(), await call
    yield await channel.unary_stream(path("Numbers"))(b"1").wait_for_connection()


@same_as_plain
async def test_a_unary_call(world: AioWorld) -> AsyncIterator[Any]:
    """A unary call is grpcio's own."""
    call = (await world.channel(AioService().methods())).unary_unary(path("Unary"))(b"a")
    yield type(call), await call, await call, await call.code()


@same_as_plain
async def test_what_operations_are_called(world: AioWorld) -> AsyncIterator[Any]:
    """Tasks, "was never awaited" and TypeErrors name an operation as without the guard."""
    contexts: list[Any] = []

    async def talk(requests: Any, context: Any) -> None:
        for operation in (context.read(), context.write(b"")):
            contexts.append((operation.__name__, operation.__qualname__))
            operation.close()

    channel = await world.channel({"Talk": grpc.stream_stream_rpc_method_handler(talk)})
    call, count = channel.stream_stream(path("Talk"))(), channel.stream_unary(path("Count"))()
    for operate in (call.read, call.write, call.done_writing, count.write, count.done_writing):
        operation = operate(*[b""] * (operate.__name__ == "write"))
        yield operate.__name__, operation.__name__, operation.__qualname__, what(operate, 1, 2, 3)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            del operation
            gc.collect()
        yield [str(one.message).partition("\n")[0] for one in seen]
    task = asyncio.create_task(call.read())
    yield re.findall(r"coro=<\S+", repr(task))
    yield await task, await what_async(call.done_writing()), contexts
    count.cancel()
