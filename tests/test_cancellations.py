"""cancelled-read: an aio read or write that was cancelled, and the use of the stream after it."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from support import AsyncGate, aio_channel, aio_server, logged_by_us, outcomes, path, settle, within

from grpc_guard import Finding
from grpc_guard._aio import cancellations
from grpc_guard._guard import Stream
from grpc_guard._modes import Mode

Found = Callable[[], list[Finding]]


class Servicer:
    """A method whose handler is given, run in a guarded server."""

    def __init__(self) -> None:
        self.gate = AsyncGate()

    async def hold(self, requests: Any, context: Any) -> None:
        await self.gate.park()


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[Any]:
    """Yield a call to a handler that reads and writes nothing until the block ends."""
    servicer = Servicer()
    methods = {"Hold": grpc.stream_stream_rpc_method_handler(servicer.hold)}
    async with aio_server(methods, mode=None) as address, aio_channel(address) as channel:
        call = channel.stream_stream(path("Hold"))()
        await within(call.wait_for_connection())
        try:
            yield call
        finally:
            call.cancel()
            servicer.gate.open()


async def cancel(awaitable: Any) -> None:
    """Cancel `awaitable` while it waits, as a time-out does."""
    task = asyncio.create_task(awaitable, name="timed-out")
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def check(found: Found, operation: str, side: str, effect: str) -> None:
    (finding,) = found()
    assert (finding.rule, finding.side, finding.api) == ("cancelled-read", side, "aio")
    assert finding.caller.operation == operation
    assert finding.owner is not None
    assert (finding.owner.name, finding.owner.operation) == ("timed-out", operation)
    assert f": its {operation} was cancelled " in finding.message
    assert finding.message.endswith(effect)


async def read_by_iterating(call: Any) -> Any:
    return await call.__aiter__().__anext__()


async def test_reading_after_a_cancelled_read(found: Found) -> None:
    """A client's read that was cancelled has ended the RPC, and the next one is told."""
    async with held() as call:
        await cancel(call.read())
        assert found() == []
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError):
                await call.read()
    check(found, "read", "client", ", which ended the RPC")


async def test_iterating_after_a_cancelled_step(found: Found) -> None:
    """The same for the steps of async for."""
    async with held() as call:
        await cancel(read_by_iterating(call))
        assert found() == []
        with pytest.raises(StopAsyncIteration):
            await read_by_iterating(call)
    check(found, "__anext__", "client", ", which ended the RPC")


async def test_writing_after_a_cancelled_write(found: Found) -> None:
    """The same for a write."""
    async with held() as call:
        direction = call._self_write
        parked = asyncio.Event()
        plain, direction.step = direction.step, lambda request: parked.wait()
        await cancel(call.write(b"1"))
        direction.step._step = plain  # grpcio's own takes no time that could be cancelled
        await call.write(b"2")
    check(found, "write", "client", ", which ended the RPC")


async def test_a_time_out(found: Found) -> None:
    """A read that is timed out is cancelled, and whoever timed it out reads again."""
    async with held() as call:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(call.read(), 0.001)
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    assert [finding.rule for finding in found()] == ["cancelled-read"]


async def test_a_shielded_time_out(found: Found) -> None:
    """A read that goes on behind its time-out is not cancelled."""
    async with held() as call:
        reading = asyncio.ensure_future(call.read())
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(reading), 0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert found() == []


async def test_a_task_that_ends_its_stream(found: Found) -> None:
    """A task that is cancelled, and on its way out uses the stream once more, is no finding."""

    async def consume(call: Any) -> None:
        try:
            await call.read()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await call.read()

    async with held() as call:
        await cancel(consume(call))
    assert found() == []


async def test_a_cancelled_call(found: Found) -> None:
    """cancel() is the way to end a stream, and reading on to learn of it is legal."""
    async with held() as call:
        reading = asyncio.create_task(call.read())
        await settle()
        call.cancel()
        assert [type(seen) for seen in await outcomes(reading, call.read())] == [
            asyncio.CancelledError
        ] * 2
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    assert found() == []


async def test_cancelling_before_the_stream_has_begun(found: Found) -> None:
    """The same if the RPC was cancelled before it was on its way."""
    async with aio_channel("127.0.0.1:1") as channel:
        call = channel.unary_stream(path("Hold"))(b"")
        reading = asyncio.create_task(call.read())
        await settle()
        call.cancel()
        await outcomes(reading, call.read(), call.read())
    assert found() == []


# Servers


class Reader:
    """A handler whose first operation is cancelled, and which does another then."""

    def __init__(self, operation: Callable[[Any, Any], Any]) -> None:
        self.operation = operation
        self.seen: list[Any] = []

    async def handle(self, requests: Any, context: Any) -> None:
        await cancel(self.operation(requests, context))
        self.seen += await outcomes(self.operation(requests, context))


async def iterate(requests: Any, context: Any) -> Any:
    return await requests.__aiter__().__anext__()


async def read(requests: Any, context: Any) -> Any:
    return await context.read()


@pytest.mark.parametrize(("operation", "name"), [(read, "context.read"), (iterate, "__anext__")])
async def test_reading_on_in_a_handler(
    operation: Callable[[Any, Any], Any], name: str, found: Found
) -> None:
    """A handler's read that was cancelled has broken the stream, and the next one is told."""
    reader = Reader(operation)
    methods = {"Read": grpc.stream_stream_rpc_method_handler(reader.handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Read"))()
        await within(call.code())
    assert len(reader.seen) == 1
    check(found, name, "server", ", which broke the stream")


async def test_writing_on_in_a_handler(found: Found) -> None:
    """The same for a handler's write."""
    parked = asyncio.Event()

    async def handle(requests: Any, context: Any) -> None:
        direction = context._self_write
        plain, direction.step = direction.step, lambda message: parked.wait()
        await cancel(context.write(b"1"))
        direction.step._step = plain
        await context.write(b"2")

    methods = {"Write": grpc.stream_stream_rpc_method_handler(handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Write"))()
        assert await within(call.read()) == b"2"
        await within(call.code())
    check(found, "context.write", "server", ", which broke the stream")


async def test_a_client_that_leaves(found: Found) -> None:
    """A handler that is cancelled because its client has gone is ended, and reads to its end."""
    gate = AsyncGate()
    done = asyncio.Event()

    async def handle(requests: Any, context: Any) -> None:
        gate.arrive()
        try:
            await context.read()
        finally:
            done.set()
            await context.read()

    methods = {"Read": grpc.stream_stream_rpc_method_handler(handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Read"))()
        await gate.wait()
        call.cancel()
        await within(done.wait())
    assert found() == []


# Details


async def test_python_310(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a task does not tell whether it is being cancelled, the same task is let through."""
    monkeypatch.setattr(cancellations, "_is_being_cancelled", lambda task: None)
    async with held() as call:
        await cancel(call.read())
        with pytest.raises(asyncio.CancelledError):
            await call.read()
        assert [finding.rule for finding in found()] == ["cancelled-read"]
    stream = Stream("/a/b", "client", "aio", Mode.RAISE)
    task = asyncio.current_task()
    assert task is not None
    again = cancellations._Again(
        lambda: None, stream, cancellations.born("read"), weakref.ref(task)
    )
    again()
    assert found() == []


async def test_failing_to_notice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in noticing is in the log, and the stream is as it was."""
    async with held() as call:
        monkeypatch.setattr(cancellations, "warn", None)
        await cancel(call.read())
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    assert logged_by_us(caplog) == ["the use of a cancelled stream goes unnoticed"]
    caplog.clear()
    async with held() as call:
        monkeypatch.setattr(cancellations, "born", None)
        await cancel(call.read())
    assert logged_by_us(caplog) == ["a cancelled operation goes unnoticed"]


async def test_a_handler_that_has_ended() -> None:
    """A stream that is over anyway is not looked at."""
    stream = Stream("/a/b", "server", "aio", Mode.RAISE)
    stream.ended = True
    error = asyncio.CancelledError()
    assert cancellations.after_cancel(print, stream, "context.read", error) is print
