"""cancelled-read: an aio read or write that was cancelled, and the use of the stream after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import AioDirection, GrpcDriven, Mode, Stream, Way, cancellations
from support.staging import (
    AsyncGate,
    aio_channel,
    aio_server,
    logged_by_us,
    outcomes,
    path,
    settle,
    within,
)

from grpc_guard import Finding

pytestmark = pytest.mark.usefixtures("in_each_mode")
Found = Callable[[], list[Finding]]


BIG = b"x" * 20_000_000  # more than a peer takes in that reads nothing: writing it takes a while


class Servicer:
    """A method whose handler is given, run in a guarded server."""

    def __init__(self) -> None:
        self.gate = AsyncGate()

    async def hold(self, requests: Any, context: Any) -> None:
        await self.gate.park()


@contextlib.asynccontextmanager
async def held(shape: str = "stream_stream", requests: Any = None) -> AsyncIterator[Any]:
    """Yield a call to a handler that reads and writes nothing until the block ends."""
    servicer = Servicer()
    handler = getattr(grpc, f"{shape}_rpc_method_handler")(servicer.hold)
    async with aio_server({"Hold": handler}, mode=None) as address, aio_channel(address) as channel:
        call = getattr(channel, shape)(path("Hold"))(requests)
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
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def check(found: Found, operation: str, side: str, effect: str, caller: str | None = None) -> None:
    """Check that the one finding is of `caller` after the cancelled `operation`."""
    (finding,) = found()
    assert (finding.rule, finding.side, finding.api) == ("cancelled-read", side, "aio")
    assert finding.caller.operation == (caller or operation)
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


# What comes after a cancelled operation of a client, and what it meets.
OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "read": lambda call: call.read(),
    "__anext__": read_by_iterating,
    "asend": lambda call: call.__aiter__().asend(None),
    "write": lambda call: call.write(BIG),
    "done_writing": lambda call: call.done_writing(),
}


# grpcio does not let a call be iterated that was read in another way.
PAIRS = [
    (first, later)
    for first in OPERATIONS
    for later in OPERATIONS
    if first != "read" or later not in ("__anext__", "asend")
    if first in ("write", "done_writing") or later != "done_writing"
]


@pytest.mark.parametrize(("first", "later"), PAIRS)
async def test_going_on_after_a_cancelled_operation(first: str, later: str, found: Found) -> None:
    """A cancelled operation of a client has ended the RPC: any use after that is reported."""
    async with held() as call:
        if later in ("__anext__", "asend"):
            call.__aiter__()  # there before, as in the middle of an async for
        await cancel(OPERATIONS[first](call))
        assert found() == []
        assert call.done()
        await outcomes(OPERATIONS[later](call))
        check(found, first, "client", ", which ended the RPC", caller=later)
        for again in ("write", "done_writing", later):
            await outcomes(OPERATIONS[again](call))
    assert found() == []  # once is enough


@pytest.mark.parametrize("first", ["read", "__anext__", "asend"])
async def test_half_closing_after_a_cancelled_read(first: str, found: Found) -> None:
    """done_writing() is how a client tidies up, and does nothing then; going on is reported still."""
    async with held() as call:
        await cancel(OPERATIONS[first](call))
        for _ in range(2):
            assert await call.done_writing() is None
        assert found() == []
        await outcomes(call.write(b""))
    check(found, first, "client", ", which ended the RPC", caller="write")


async def test_awaiting_the_response_after_a_cancelled_write(found: Found) -> None:
    """Waiting for the response of a stream-unary call is reported as well."""
    async with held("stream_unary") as call:
        await cancel(call.write(BIG))
        for _ in range(2):
            with pytest.raises(asyncio.CancelledError):
                await call
    check(found, "write", "client", ", which ended the RPC", caller="await")


async def test_reading_on_beside_a_request_iterator(found: Found) -> None:
    """Where gRPC advances a request iterator, only the reading is told."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        try:
            begun.set()
            await ended.wait()
            yield b""
        finally:
            ended.set()

    async with held(requests=requests()) as call:
        await within(begun.wait())
        writing = call._self_stream.write
        await cancel(call.read())
        await within(ended.wait())
        assert found() == []
        assert type(writing) is GrpcDriven  # no claim of gRPC's own is ever looked at
        await outcomes(call.read())
    check(found, "read", "client", ", which ended the RPC")


async def test_reading_on_beside_a_sync_request_iterator(
    found: Found, caplog: pytest.LogCaptureFixture
) -> None:
    """The direction that gRPC advances on the loop, claimed in another way, is left as it is."""
    async with held(requests=iter([b""])) as call:
        await cancel(call.read())
        assert logged_by_us(caplog) == []
        await outcomes(call.read())
    check(found, "read", "client", ", which ended the RPC")


async def test_writing_again_before_the_stream_has_begun(found: Found) -> None:
    """A write that still waited for the connection can be cancelled: grpcio has sent nothing."""
    async with aio_channel("127.0.0.1:1") as channel:
        call = channel.stream_stream(path("Hold"))(wait_for_ready=True)
        await cancel(call.write(b"1"))
        assert not call.done()
        await cancel(call.write(b"2"))
        assert found() == []
        call.cancel()


async def test_a_time_out(found: Found) -> None:
    """A read that is timed out is cancelled, and the task that set the time-out reads again."""
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


async def test_a_read_that_another_cancellation_has_ended(found: Found) -> None:
    """A read beside a cancelled write was not cancelled by the program: the write is named."""
    async with held() as call:
        reading = asyncio.create_task(call.read(), name="reader")
        await settle()
        await cancel(call.write(BIG))
        assert await outcomes(reading) != [None]
        assert found() == []
        await outcomes(call.read())
        check(found, "write", "client", ", which ended the RPC", caller="read")


async def test_leaving_a_stream_that_was_cancelled_before(found: Found) -> None:
    """A read of a task on its way out does not end an RPC that is over: it is reported once."""

    async def leave(call: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await call.read()

    async with held() as call:
        await cancel(call.read())
        await outcomes(call.read())
        check(found, "read", "client", ", which ended the RPC")
        await cancel(leave(call))
        await outcomes(call.read())
    assert found() == []


@pytest.mark.parametrize("order", ["before", "after"])
async def test_a_cancelled_call_with_a_cancelled_reader(order: str, found: Found) -> None:
    """Cancelling the task as well, before or after, makes no difference."""
    async with held() as call:
        reading = asyncio.create_task(call.read())
        await settle()
        if order == "before":
            call.cancel()
        reading.cancel()
        await outcomes(reading)
        if order == "after":
            call.cancel()
        await outcomes(call.read(), call.write(b""), call.done_writing())
    assert found() == []


async def test_a_closed_channel(found: Found) -> None:
    """Closing the channel is a way to end a stream too, and so is what follows in other tasks."""
    async with aio_channel("127.0.0.1:1") as channel:
        call = channel.stream_stream(path("Hold"))(wait_for_ready=True)
        writing = asyncio.create_task(call.write(b"1"))
        await settle()
        await channel.close()
        writing.cancel()
        await outcomes(writing)
        await outcomes(call.write(b"1"), call.done_writing())
    assert found() == []


async def test_leaving_by_the_other_direction(found: Found) -> None:
    """A task that is being cancelled may half-close; a use of the stream after that is reported."""

    async def consume(call: Any) -> None:
        try:
            await call.read()
        finally:
            await call.done_writing()

    async with held() as call:
        await cancel(consume(call))
        assert found() == []
        await outcomes(call.write(b""))
    check(found, "read", "client", ", which ended the RPC", caller="write")


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


async def iterate(requests: Any, context: Any) -> Any:
    return await requests.__aiter__().__anext__()


async def read(requests: Any, context: Any) -> Any:
    return await context.read()


READS = {"context.read": read, "__anext__": iterate}


@pytest.mark.parametrize("later", READS)
@pytest.mark.parametrize("first", READS)
async def test_reading_on_in_a_handler(first: str, later: str, found: Found) -> None:
    """A handler's read that was cancelled has broken the stream, and the next one is told."""
    seen: list[Any] = []

    async def handle(requests: Any, context: Any) -> None:
        if later == "__anext__":
            requests.__aiter__()  # there before, as in the middle of an async for
        await cancel(READS[first](requests, context))
        seen.extend(await outcomes(READS[later](requests, context)))

    methods = {"Read": grpc.stream_stream_rpc_method_handler(handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Read"))()
        await within(call.code())
    (end,) = seen
    assert end is grpc.aio.EOF or isinstance(end, StopAsyncIteration)
    check(found, first, "server", ", which broke the stream", caller=later)


async def test_writing_on_in_a_handler_after_a_cancelled_read(found: Found) -> None:
    """Writing is not broken by a read that was cancelled, and goes on."""

    async def handle(requests: Any, context: Any) -> None:
        await cancel(context.read())
        await context.write(b"1")

    methods = {"Write": grpc.stream_stream_rpc_method_handler(handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Write"))()
        assert await within(call.read()) == b"1"
        assert await within(call.code()) is grpc.StatusCode.OK
    assert found() == []


async def test_writing_on_in_a_handler(found: Found) -> None:
    """A handler's write that was cancelled stands in the way of the next; reading goes on."""
    told = asyncio.get_running_loop().create_future()

    async def handle(requests: Any, context: Any) -> None:
        await cancel(context.write(BIG))
        message = await context.read()
        told.set_result((message, found(), *await outcomes(context.write(b"2"))))

    methods = {"Write": grpc.stream_stream_rpc_method_handler(handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Write"))()
        await call.write(b"1")
        message, before, error = await within(told)
        call.cancel()
    assert (message, before) == (b"1", [])
    assert "Failed grpc_call_start_batch: 8" in str(error)
    check(found, "context.write", "server", ", which broke the stream")


async def test_yielding_after_a_cancelled_write(found: Found) -> None:
    """A yield of an async generator is a write, and so is the next one."""

    ended = asyncio.Event()

    async def handle(requests: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            await cancel(context.write(BIG))
            yield b"2"
        finally:
            ended.set()

    methods = {"Write": grpc.stream_stream_rpc_method_handler(handle)}
    async with aio_server(methods) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Write"))()
        await within(ended.wait())
        call.cancel()
    check(found, "context.write", "server", ", which broke the stream", caller="yield")


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


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_wait_for_a_turn_that_is_cancelled(side: str, found: Found) -> None:
    """Who is cancelled before its turn has begun nothing: nothing is broken, and it may come again."""
    read: list[bytes] = []
    answer = AsyncGate()

    async def go_on(stream: Any) -> None:
        first = asyncio.create_task(stream.read())
        await settle()
        await cancel(stream.read())
        answer.open()
        read.append(await within(first))
        read.append(await within(stream.read()))

    async def handle(requests: Any, context: Any) -> None:
        if side == "server":
            await go_on(context)
            return
        await answer.park()
        for message in (b"1", b"2"):
            await context.write(message)

    methods = {"Talk": grpc.stream_stream_rpc_method_handler(handle)}
    modes = {"client": (None, "serialize"), "server": ("serialize", None)}
    of_server, of_channel = modes[side]
    async with (
        aio_server(methods, mode=of_server) as address,
        aio_channel(address, mode=of_channel) as channel,
    ):
        call = channel.stream_stream(path("Talk"))()
        if side == "client":
            await go_on(call)
        else:
            await answer.park()
            await call.write(b"1")
            await call.write(b"2")
        await within(call.code())
    assert read == [b"1", b"2"]
    assert [one.rule for one in found()] == ["concurrent-read"]  # that it had to wait


# Details


async def test_a_task_that_cannot_tell(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a task does not tell whether it is being cancelled, nothing is reported."""

    class Own:
        def get_name(self) -> str:
            return "own"

    own_kind = Own()
    monkeypatch.setattr(cancellations.asyncio, "current_task", lambda *loop: own_kind)
    async with held() as call:
        await cancel(call.read())
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    assert found() == []


async def test_failing_to_notice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the bookkeeping is logged, and the stream is unchanged."""
    async with held() as call:
        monkeypatch.setattr(cancellations, "warn", None)
        await cancel(call.read())
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    assert logged_by_us(caplog) == ["the use of a cancelled stream goes unnoticed"]
    caplog.clear()
    async with held() as call:
        monkeypatch.setattr(cancellations, "note_party", None)
        await cancel(call.read())
    assert logged_by_us(caplog) == ["a cancelled operation goes unnoticed"]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_handler_that_has_ended(ended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is over anyway is not looked at."""
    cancelled = SimpleNamespace(cancelling=lambda: 1, get_name=lambda: "timed-out")
    monkeypatch.setattr(asyncio, "current_task", lambda *loop: cancelled)
    stream = Stream("/a/b", "server", "aio", Mode.RAISE, asyncio.get_running_loop())
    stream.ended = ended
    direction = AioDirection(stream, Way.READ)  # that of the operation, by this name
    cancellations.after_cancel(stream, "context.read", asyncio.CancelledError())
    assert (type(direction) is cancellations.Broken) is not ended


async def test_a_claim_of_which_nothing_is_known(caplog: pytest.LogCaptureFixture) -> None:
    """A broken direction that is claimed by other code than an operation can be claimed."""
    stream = Stream("/a/b", "client", "aio", Mode.RAISE, asyncio.get_running_loop())
    direction: Any = AioDirection(stream, Way.READ)
    cancellation = cancellations._Cancellation(cancellations.note_party("read"))
    cancellations._cancellations[stream] = {Way.READ: cancellation}
    direction.__class__ = cancellations.Broken
    assert direction.is_free
    assert not direction.taken
    direction.taken = True
    assert not direction.is_free
    assert type(direction) is AioDirection
    assert logged_by_us(caplog) == ["the use of a cancelled stream goes unnoticed"]
