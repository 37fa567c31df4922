"""The contract, generators: one generator object feeds one RPC at a time."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from support.stage import BULK, NARROW, label
from support.staging import (
    PATIENCE,
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError

NUMBERS = [b"1", b"2", b"3"]
BULKY = [number + BULK for number in NUMBERS]  # so that none is gone before it is read


def numbers() -> Any:
    yield from BULKY


async def numbers_async() -> Any:
    for number in BULKY:
        yield number


# Requests, sync


class Collector:
    """Handlers that collect the requests of an RPC, and answer once their gate is open."""

    def __init__(self) -> None:
        self.gate = Gate()

    def record(self, requests: Any, context: Any) -> bytes:
        self.gate.park()
        return b"".join(label(request) for request in requests)

    def chat(self, requests: Any, context: Any) -> Any:
        yield self.record(requests, context)

    @property
    def methods(self) -> Any:
        return {
            "Record": grpc.stream_unary_rpc_method_handler(self.record),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
        }


def call(channel: Any, requests: Any) -> Any:
    return channel.stream_unary(path("Record"))(requests)


def with_call(channel: Any, requests: Any) -> Any:
    response, _ = channel.stream_unary(path("Record")).with_call(requests)
    return response


def future(channel: Any, requests: Any) -> Any:
    return channel.stream_unary(path("Record")).future(requests).result()


def duplex(channel: Any, requests: Any) -> Any:
    return b"".join(channel.stream_stream(path("Chat"))(requests))


WAYS = [call, with_call, future, duplex]
RPCS = {call: "Record", with_call: "Record", future: "Record", duplex: "Chat"}


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_sync_requests_of_two_calls(first: Callable, second: Callable, found):
    """A generator that feeds a live RPC is refused to another, which never starts."""
    collector, requests = Collector(), numbers()
    with (
        sync_server(collector.methods, options=NARROW) as address,
        sync_channel(address) as channel,
    ):
        party = in_thread(first, channel, requests, name="first")
        with collector.gate.held(), pytest.raises(ConcurrencyError) as refusal:
            second(channel, requests)
        assert party.result() == b"123"
    assert str(refusal.value).partition("\n")[0] == (
        f"shared-iterator: next(request_iterator) by thread 'MainThread' on {path(RPCS[second])} "
        "(client, sync) refused: generator 'numbers' already feeds a live RPC, "
        f"{path(RPCS[first])}"
    )
    assert found() == [refusal.value.finding]


@pytest.mark.parametrize("way", WAYS)
def test_sync_requests_reused_after_the_end(way: Callable, found):
    """Once its RPC has ended a generator may feed another."""
    collector, requests = Collector(), numbers()
    collector.gate.open()
    with (
        sync_server(collector.methods, options=NARROW) as address,
        sync_channel(address) as channel,
    ):
        assert way(channel, requests) == b"123"
        assert way(channel, requests) == b""
    assert found() == []


@pytest.mark.parametrize("way", WAYS)
def test_sync_requests_after_a_start_that_failed(way: Callable, found):
    """A start that failed leaves the generator free for the next attempt."""
    collector, requests = Collector(), numbers()
    collector.gate.open()
    with sync_server(collector.methods, options=NARROW) as address:
        with sync_channel(address) as closed:
            pass
        with pytest.raises(ValueError, match="[Cc]losed"):
            way(closed, requests)
        with sync_channel(address) as channel:
            assert way(channel, requests) == b"123"
    assert [finding.rule for finding in found()] == ["closed-channel"]


def test_sync_requests_after_cancel(found):
    """What a cancelled RPC left of a generator may feed another."""
    collector, requests = Collector(), numbers()
    with (
        sync_server(collector.methods, options=NARROW) as address,
        sync_channel(address) as channel,
    ):
        cancelled = channel.stream_stream(path("Chat"))(requests)
        with collector.gate.held():
            with pytest.raises(ConcurrencyError, match="generator 'numbers' already feeds"):
                duplex(channel, requests)
            cancelled.cancel()
            with pytest.raises(grpc.RpcError, match="CANCELLED"):
                next(cancelled)
        assert duplex(channel, requests) == b"23"
    assert len(found()) == 1


def test_sync_requests_of_a_call_that_was_dropped(found):
    """Dropping the last reference cancels an RPC, and frees its generator."""
    collector, requests = Collector(), numbers()
    with (
        sync_server(collector.methods, options=NARROW) as address,
        sync_channel(address) as channel,
    ):
        dropped = channel.stream_stream(path("Chat"))(requests)
        collector.gate.wait()
        del dropped
        collector.gate.open()
        assert duplex(channel, requests) == b"23"
    assert found() == []


class Shared:
    """An iterator that is made to be shared: an object around a queue."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        for number in NUMBERS:
            self._queue.put(number)

    def __iter__(self) -> Shared:
        return self

    def __next__(self) -> bytes:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            raise StopIteration from None


class SharedAsync(Shared):
    def __aiter__(self) -> SharedAsync:
        return self

    async def __anext__(self) -> bytes:
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None


def shared_by_two(kind: Callable[[], Any]) -> Any:
    return pytest.param(kind, id=kind.__name__)


@pytest.mark.parametrize("way", WAYS)
def test_sync_requests_shared_on_purpose(way: Callable, found):
    """An object around a queue may feed two live RPCs: each message goes to one of them."""
    collector, requests = Collector(), Shared()
    with (
        sync_server(collector.methods, options=NARROW) as address,
        sync_channel(address) as channel,
    ):
        first = in_thread(way, channel, requests, name="first")
        second = in_thread(way, channel, requests, name="second")
        collector.gate.open()
        received = first.result() + second.result()
    assert sorted(received) == sorted(b"123")
    assert found() == []


def test_sync_requests_that_are_no_iterator(found):
    """A list is no iterator: the RPC fails as it does without the guard."""
    collector = Collector()
    collector.gate.open()
    with (
        sync_server(collector.methods, options=NARROW) as address,
        sync_channel(address) as channel,
    ):
        with pytest.raises(grpc.RpcError) as error:
            call(channel, NUMBERS)
    assert error.value.code() is grpc.StatusCode.UNKNOWN
    assert error.value.details() == "Exception iterating requests!"
    assert found() == []


# Requests, aio


class AioCollector:
    def __init__(self) -> None:
        self.gate = AsyncGate()

    async def record(self, requests: Any, context: Any) -> bytes:
        await self.gate.park()
        return b"".join([label(request) async for request in requests])

    async def chat(self, requests: Any, context: Any) -> Any:
        yield await self.record(requests, context)

    methods = Collector.methods


async def aio_record(channel: Any, requests: Any) -> bytes:
    return await channel.stream_unary(path("Record"))(requests)


async def aio_duplex(channel: Any, requests: Any) -> bytes:
    return b"".join([message async for message in channel.stream_stream(path("Chat"))(requests)])


AIO_WAYS = [aio_record, aio_duplex]
AIO_RPCS = {aio_record: "Record", aio_duplex: "Chat"}


@pytest.mark.parametrize("generator", [numbers, numbers_async])
@pytest.mark.parametrize("second", AIO_WAYS)
@pytest.mark.parametrize("first", AIO_WAYS)
async def test_aio_requests_of_two_calls(first: Callable, second: Callable, generator, found):
    """A generator, sync or async, that feeds a live RPC is refused to another."""
    collector, requests = AioCollector(), generator()
    async with (
        aio_server(collector.methods, options=NARROW) as address,
        aio_channel(address) as channel,
    ):
        party = asyncio.create_task(first(channel, requests), name="first")
        async with collector.gate.held():
            with pytest.raises(ConcurrencyError) as refusal:
                await second(channel, requests)
        assert await within(party) == b"123"
    assert str(refusal.value).partition("\n")[0] == (
        "shared-iterator: anext(request_iterator) by task 'test' on "
        f"{path(AIO_RPCS[second])} (client, aio) refused: generator {generator.__name__!r} "
        f"already feeds a live RPC, {path(AIO_RPCS[first])}"
    )
    assert found() == [refusal.value.finding]


@pytest.mark.parametrize("generator", [numbers, numbers_async])
@pytest.mark.parametrize("way", AIO_WAYS)
async def test_aio_requests_reused_after_the_end(way: Callable, generator, found):
    """Once its RPC has ended a generator may feed another."""
    collector, requests = AioCollector(), generator()
    collector.gate.open()
    async with (
        aio_server(collector.methods, options=NARROW) as address,
        aio_channel(address) as channel,
    ):
        assert await within(way(channel, requests)) == b"123"
        assert await within(way(channel, requests)) == b""
    assert found() == []


@pytest.mark.parametrize("generator", [numbers, numbers_async])
@pytest.mark.parametrize("way", AIO_WAYS)
async def test_aio_requests_after_a_start_that_failed(way: Callable, generator, found):
    """A start that failed leaves the generator free for the next attempt."""
    collector, requests = AioCollector(), generator()
    collector.gate.open()
    async with aio_server(collector.methods, options=NARROW) as address:
        async with aio_channel(address) as closed:
            pass
        with pytest.raises(grpc.aio.UsageError, match="[Cc]hannel is closed"):
            await way(closed, requests)
        async with aio_channel(address) as channel:
            assert await within(way(channel, requests)) == b"123"
    assert [finding.rule for finding in found()] == ["closed-channel"]


@pytest.mark.parametrize("kind", [Shared, SharedAsync])
@pytest.mark.parametrize("way", AIO_WAYS)
async def test_aio_requests_shared_on_purpose(way: Callable, kind: type[Shared], found):
    """An object around a queue may feed two live RPCs: each message goes to one of them."""
    collector, requests = AioCollector(), kind()
    async with (
        aio_server(collector.methods, options=NARROW) as address,
        aio_channel(address) as channel,
    ):
        parties = [asyncio.create_task(way(channel, requests)) for _ in range(2)]
        collector.gate.open()
        received = b"".join(await within(asyncio.gather(*parties)))
    assert sorted(received) == sorted(b"123")
    assert found() == []


class Reopening:
    """An async iterable: each RPC gets an iterator of its own."""

    def __aiter__(self) -> Any:
        return numbers_async()


@pytest.mark.parametrize("requests", [NUMBERS, Reopening()], ids=["list", "async iterable"])
@pytest.mark.parametrize("way", AIO_WAYS)
async def test_aio_requests_from_an_iterable(way: Callable, requests: Any, found):
    """What makes a new iterator for each RPC may feed any number at once."""
    collector = AioCollector()
    async with (
        aio_server(collector.methods, options=NARROW) as address,
        aio_channel(address) as channel,
    ):
        parties = [asyncio.create_task(way(channel, requests)) for _ in range(2)]
        collector.gate.open()
        assert await within(asyncio.gather(*parties)) == [b"123", b"123"]
    assert found() == []


# Responses


def unary(channel: Any) -> Any:
    return channel.unary_stream(path("List"))(b"")


def chat(channel: Any) -> Any:
    return channel.stream_stream(path("Chat"))(iter(()))


def responding(behavior: Callable[..., Any]) -> Any:
    return {
        "List": grpc.unary_stream_rpc_method_handler(behavior),
        "Chat": grpc.stream_stream_rpc_method_handler(behavior),
    }


def parked_numbers(gate: Gate) -> Any:
    gate.park()
    yield from NUMBERS


@pytest.mark.parametrize("second", [unary, chat])
@pytest.mark.parametrize("first", [unary, chat])
def test_sync_responses_of_two_handlers(first: Callable, second: Callable, found):
    """A generator that one live RPC sends as its responses is refused to another."""
    gate = Gate()
    responses = parked_numbers(gate)
    with (
        sync_server(responding(lambda request, context: responses)) as address,
        sync_channel(address, mode=None) as channel,
    ):
        alive = first(channel)
        with gate.held(), pytest.raises(grpc.RpcError) as error:
            next(second(channel))
        assert list(alive) == NUMBERS
    [finding] = found()
    assert error.value.code() is grpc.StatusCode.UNKNOWN
    assert error.value.details().startswith(f"Exception calling application: {finding.message}\n")
    assert finding.rule == "shared-iterator"
    assert (finding.side, finding.api) == ("server", "sync")
    assert (finding.owner.operation, finding.owner.kind) == ("next(response_iterator)", "thread")
    # The handler has returned: what shows a line of the program is the generator.
    assert [frame.function for frame in finding.caller.stack] == ["parked_numbers"]


def test_sync_responses_reused_after_the_end(found):
    """Once its RPC has ended a generator may answer another."""
    gate = Gate()
    gate.open()
    responses = parked_numbers(gate)
    with (
        sync_server(responding(lambda request, context: responses)) as address,
        sync_channel(address, mode=None) as channel,
    ):
        assert list(unary(channel)) == NUMBERS
        assert list(unary(channel)) == []
    assert found() == []


@pytest.mark.parametrize("responses", [Shared(), NUMBERS], ids=["object", "list"])
def test_sync_responses_that_are_no_generator(responses: Any, found):
    """An iterator object may answer two RPCs; a list answers none, as without the guard."""
    with (
        sync_server(responding(lambda request, context: responses)) as address,
        sync_channel(address, mode=None) as channel,
    ):
        calls = [unary(channel), unary(channel)]
        if responses is NUMBERS:
            for failed in calls:
                with pytest.raises(grpc.RpcError, match="'list' object is not an iterator"):
                    list(failed)
        else:
            assert sorted(list(calls[0]) + list(calls[1])) == NUMBERS
    assert found() == []


async def test_aio_responses_of_two_sync_handlers(found):
    """A generator that one live RPC of an aio server sends is refused to another."""
    gate = Gate()
    responses = parked_numbers(gate)
    async with (
        aio_server(responding(lambda request, context: responses)) as address,
        aio_channel(address, mode=None) as channel,
    ):
        alive = channel.unary_stream(path("List"))(b"")
        reader = asyncio.create_task(alive.read())
        await within(asyncio.to_thread(gate.wait))
        with pytest.raises(grpc.RpcError) as error:
            await within(channel.unary_stream(path("List"))(b"").read())
        gate.open()
        assert [await within(reader), await alive.read(), await alive.read()] == NUMBERS
    [finding] = found()
    assert error.value.code() is grpc.StatusCode.UNKNOWN
    assert finding.message in error.value.details()
    assert (finding.rule, finding.side, finding.api) == ("shared-iterator", "server", "aio")
    assert [frame.function for frame in finding.caller.stack] == ["parked_numbers"]


def test_sync_requests_whose_first_sender_is_still_inside(found):
    """A generator in which the sender of an RPC waits that is over is refused until it is left."""
    gate = Gate()

    def waiting() -> Any:
        yield b"1"
        gate.park()
        yield b"2"

    def first_message(requests: Any, context: Any) -> bytes:
        message = next(requests)
        gate.wait()  # now the sender is inside
        return message

    requests = waiting()
    handler = grpc.stream_unary_rpc_method_handler(first_message)
    with sync_server({"First": handler}, mode=None) as address, sync_channel(address) as channel:
        first = channel.stream_unary(path("First"))
        assert first.future(requests).result(timeout=PATIENCE) == b"1"
        with gate.held(), pytest.raises(ConcurrencyError) as refusal:
            first(requests)
        assert refusal.value.finding.message.endswith(
            f"the sender of {path('First')}, an RPC that is over, is still inside generator "
            "'test_sync_requests_whose_first_sender_is_still_inside.<locals>.waiting'"
        )
        assert refusal.value.finding.owner.operation == "next(request_iterator)"
    assert found() == [refusal.value.finding]
