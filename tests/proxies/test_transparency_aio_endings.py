"""A guarded aio call ends like a plain one: drained, refused, failed, cancelled, too late."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
from support.comparison import AioWorld, same_as_plain, what_async
from support.services import AioService, ending_async
from support.staging import path, within

import grpc_guard


@same_as_plain
async def test_requests_that_fail(world: AioWorld) -> AsyncIterator[Any]:
    """What cannot be iterated, or raises, cancels the RPC as before."""
    logs = world.logs()
    channel = await world.channel(AioService().methods())

    async def failing() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("no more")

    def failing_too() -> Iterator[bytes]:
        yield b"a"
        raise ValueError("no more")

    def refuse(message: bytes) -> bytes:
        raise ValueError("cannot be serialized")

    for make in (lambda: 42, lambda: object, failing, failing_too):
        call = channel.stream_stream(path("Echo"))(make())
        yield [await what_async(call.read()) for _ in range(2)][1], call.cancelled()
        call = channel.stream_unary(path("Count"))(make())
        yield await what_async(call), call.cancelled(), await call.code(), await call.details()
    assert {finding.rule for finding in grpc_guard.findings()} <= {"lost-exception"}
    grpc_guard.clear_findings()
    call = channel.stream_unary(path("Count"), request_serializer=refuse)()
    yield await what_async(call.write(b"a")), call.cancel()
    call = channel.unary_stream(path("Numbers"), response_deserializer=refuse)(b"1")
    yield await what_async(call.read()), call.cancel()
    call = channel.unary_stream(path("Numbers"), request_serializer=refuse)(b"1")
    yield await what_async(call.read()), call.cancel()
    yield logs


@same_as_plain
async def test_a_server_that_aborts(world: AioWorld) -> AsyncIterator[Any]:
    """The error that the server sent is raised by each way to read, and can be pickled."""
    channel = await world.channel(AioService().methods())
    fail = channel.unary_stream(path("Fail"))
    call = fail(b"abort")
    yield await call.read()
    error = await what_async(call.read())
    yield type(error), isinstance(error, grpc.RpcError), error == call, repr(error), error.args
    yield error.code(), error.details(), error.trailing_metadata(), error.initial_metadata()
    yield error.__context__, error.__cause__
    yield pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)
    async for fact in ending_async(call):
        yield fact
    messages = aiter(fail(b"abort"))
    yield await anext(messages), await what_async(anext(messages)), await anext(messages, "ended")
    refuse = channel.stream_unary(path("Refuse"))
    yield await what_async(refuse(iter([b"a"]))), await what_async(refuse([b"a"]))
    async for fact in ending_async(call := refuse([b"a"])):
        yield fact


@same_as_plain
async def test_a_handler_that_raises(world: AioWorld) -> AsyncIterator[Any]:
    """What the handler raised is logged on the server and told to the client."""
    logs = world.logs()
    call = (await world.channel(AioService().methods())).unary_stream(path("Fail"))(b"")
    yield await call.read(), await what_async(call.read()), logs


@same_as_plain
async def test_a_method_that_does_not_exist(world: AioWorld) -> AsyncIterator[Any]:
    """Every shape fails with UNIMPLEMENTED."""
    channel = await world.channel(AioService().methods())
    yield await what_async(channel.unary_unary(path("Nothing"))(b""))
    yield await what_async(channel.unary_stream(path("Nothing"))(b"").read())
    yield await what_async(channel.stream_stream(path("Nothing"))([]).read())
    yield await what_async(channel.stream_unary(path("Nothing"))([]))


@same_as_plain
async def test_a_deadline(world: AioWorld) -> AsyncIterator[Any]:
    """A read whose deadline passes raises, and the call has ended."""
    service = AioService()
    channel = await world.channel(service.methods())
    yield [message async for message in channel.unary_stream(path("Numbers"))(b"1")]
    call = channel.unary_stream(path("Hold"))(b"", timeout=1)  # not spent on the connection
    yield [await what_async(call.read()) for _ in range(2)][1]
    async for fact in ending_async(call):
        yield fact
    await within(service.cancelled.wait())


@same_as_plain
async def test_cancelling(world: AioWorld) -> AsyncIterator[Any]:
    """cancel() ends the call at once, the reader is cancelled, and the server sees it."""
    service = AioService()
    channel = await world.channel(service.methods())
    call = channel.unary_stream(path("Hold"))(b"")
    yield await call.read(), call.done()
    reader = asyncio.create_task(what_async(call.read()))
    await asyncio.sleep(0)
    yield call.cancel(), call.cancel(), await reader
    async for fact in ending_async(call):
        yield fact
    await within(service.cancelled.wait())
    call = channel.unary_stream(path("Hold"))(b"")
    yield call.cancel(), await what_async(call.read()), await what_async(anext(aiter(call)))
    call = channel.stream_unary(path("Count"))()
    yield call.cancel(), await what_async(call), await what_async(call.write(b"a")), repr(call)


@same_as_plain
async def test_cancelling_a_reader(world: AioWorld) -> AsyncIterator[Any]:
    """A reader that is cancelled, or runs out of time, takes its RPC with it."""
    service = AioService()
    start = (await world.channel(service.methods())).unary_stream(path("Hold"))
    call = start(b"")
    await call.read()
    reader = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    reader.cancel()
    yield await what_async(reader), call.cancelled(), await call.details()
    await within(service.cancelled.wait())
    call = start(b"")
    await call.read()
    error = await what_async(asyncio.wait_for(call.read(), 0.01))
    yield isinstance(error, asyncio.TimeoutError), call.cancelled(), await call.details()
    yield await what_async(call.read())
    grpc_guard.clear_findings()  # of cancelled-read


@same_as_plain
async def test_done_callbacks(world: AioWorld) -> AsyncIterator[Any]:
    """Done-callbacks get the call itself, in order, at once if it is over; errors are logged."""
    logs = world.logs()
    seen: list[Any] = []
    call = (await world.channel(AioService().methods())).unary_stream(path("Hold"))(b"")
    await call.read()

    def note(done: Any) -> None:
        seen.append((done is call, done == call, type(done) is type(call), done.done()))

    yield call.add_done_callback(note), call.add_done_callback(callback=note)
    call.cancel()
    await call.code()
    await asyncio.sleep(0)
    yield seen
    yield call.add_done_callback(note)
    await asyncio.sleep(0)
    yield seen, logs
