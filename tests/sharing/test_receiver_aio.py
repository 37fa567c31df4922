"""Receiver and FanOut for tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from support.sharing import STREAM, AioPeer
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    outcomes,
    path,
    settle,
    within,
)

from grpc_guard import ConcurrencyError
from grpc_guard.aio import FanOut, Receiver, Sender, StreamEnded

MODES = pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])


@asynccontextmanager
async def serving(mode: Any) -> AsyncIterator[tuple[Any, AioPeer]]:
    """Yield a channel to a peer, and the peer."""
    peer = AioPeer()
    async with aio_server(peer.methods(), mode=mode) as address:
        async with aio_channel(address, mode=mode) as channel:
            yield channel, peer
            peer.go.set()


async def numbers(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d" % number


async def all_of(messages: Any) -> list[Any]:
    return [message async for message in messages]


@MODES
async def test_many_tasks_receiving(mode: Any) -> None:
    """Each message goes to one of them, and each of them gets to the end."""
    async with serving(mode) as (channel, _):
        receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(numbers(200)))
        received = await outcomes(*(all_of(receiver) for _ in range(8)))
        assert sorted(message for each in received for message in each) == sorted(
            await all_of(numbers(200))
        )
        assert all(sorted(each, key=int) == each for each in received)
        with pytest.raises(StreamEnded) as ended:
            await receiver.receive()
        assert str(ended.value) == "the RPC is over: OK"


async def test_receiving_once_each() -> None:
    """Every waiting task is served, though those that were served do not come again."""
    receiver = Receiver[bytes](numbers(4))
    received = await outcomes(*(receiver.receive() for _ in range(4)))
    assert received == await all_of(numbers(4))


@MODES
async def test_receiving_with_a_timeout(mode: Any) -> None:
    """A receive() that times out, or is cancelled, keeps the RPC and loses nothing."""
    async with serving(mode) as (channel, _):
        sender = Sender[bytes]()
        receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(sender))
        with pytest.raises(TimeoutError, match=r"^no message within 0.001 s$"):
            await receiver.receive(0.001)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await receiver.receive()
        await sender.send(b"late")
        assert await receiver.receive(PATIENCE) == b"late"
        sender.close()
        assert await all_of(receiver) == []


async def test_being_cancelled_with_a_message_in_the_hand() -> None:
    """The message goes to the next, who waits or comes."""
    receiver = Receiver[int](Sender[int]())
    for number in range(2):
        first, second = (asyncio.create_task(receiver.receive()) for _ in range(2))
        await settle()
        receiver._reader.outlets.deliver(number)  # the first has it, and has not run yet
        first.cancel()
        if number:
            second.cancel()
        await outcomes(first)
        assert await outcomes(second if not number else receiver.receive()) == [number]
    await outcomes(second)


@MODES
async def test_the_rpc_failing(mode: Any) -> None:
    """Waiting tasks get StreamEnded, with the error of grpc as its cause; so does iteration."""
    async with serving(mode) as (channel, peer):
        receiver = Receiver[bytes](channel.stream_stream(path("Refuses"))(numbers(0)))
        assert await receiver.receive() == b"begun"
        waiting = [asyncio.create_task(receiver.receive()) for _ in range(3)]
        await settle()
        peer.go.set()
        for error in await outcomes(*waiting, anext(receiver)):
            assert isinstance(error, StreamEnded)
            assert (error.code, error.details) == (grpc.StatusCode.NOT_FOUND, "gone")
            assert isinstance(error.__cause__, grpc.RpcError)


@MODES
async def test_cancelling_the_call(mode: Any) -> None:
    """cancel() ends the receiver with CANCELLED; no task is cancelled."""
    async with serving(mode) as (channel, _):
        call = channel.stream_stream(path("Ends"))(numbers(0))
        async with Receiver[bytes](call) as receiver:
            assert await receiver.receive() == b"begun"
            waiting = asyncio.create_task(receiver.receive())
            await settle()
            call.cancel()
            [error] = await outcomes(waiting)
            assert isinstance(error, StreamEnded)
            assert error.code is grpc.StatusCode.CANCELLED


async def test_reading_only_while_somebody_waits() -> None:
    """At most one message is read ahead, and none before receive()."""
    taken: list[int] = []

    async def messages() -> AsyncIterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    receiver = Receiver(messages())
    await settle()
    assert taken == []
    assert await receiver.receive() == 0
    await settle()
    assert taken == [0]
    assert await all_of(receiver) == [1, 2, 3, 4]


async def test_an_iterable_that_raises() -> None:
    """The exception is the cause of every StreamEnded."""

    async def messages() -> AsyncIterator[int]:
        yield 1
        raise ZeroDivisionError

    receiver = Receiver(messages())
    assert await receiver.receive() == 1
    for _ in range(2):
        with pytest.raises(StreamEnded) as ended:
            await anext(receiver)
        assert isinstance(ended.value.__cause__, ZeroDivisionError)


async def test_what_cannot_be_iterated_over() -> None:
    """It is refused."""
    with pytest.raises(TypeError):
        Receiver(3)  # type: ignore[arg-type]


async def test_closing_a_receiver() -> None:
    """Waiting tasks get StreamEnded; no receiver gets later messages."""
    sender = Sender[int]()
    receiver = Receiver(sender)
    waiting = asyncio.create_task(receiver.receive())
    await settle()
    receiver.close()
    [error] = await outcomes(waiting)
    assert isinstance(error, StreamEnded)
    await sender.send(1)
    assert await all_of(receiver) == []


async def test_another_reader_beside_a_receiver(found: Any) -> None:
    """Under the guard the one who comes second is refused, and the receiver goes on."""
    async with serving("raise") as (channel, _):
        sender = Sender[bytes]()
        call = channel.stream_stream(path("Echo"))(sender)
        other = asyncio.create_task(anext(aiter(call)))
        await settle()
        receiver = Receiver[bytes](call)
        for outcome in await outcomes(receiver.receive(), receiver.receive()):
            assert isinstance(outcome, ConcurrencyError)
        assert len(found()) == 1
        await sender.send(b"a")
        assert await other == b"a"
        await sender.send(b"b")
        assert await receiver.receive() == b"b"
        sender.close()
        assert await all_of(receiver) == []


@MODES
async def test_receiving_in_a_handler(mode: Any) -> None:
    """Tasks of a handler share its requests; at the half-close all of them get to the end."""
    ends = []

    async def handler(requests: Any, context: Any) -> AsyncIterator[bytes]:
        receiver = Receiver[bytes](requests)
        received = await asyncio.gather(*(all_of(receiver) for _ in range(4)))
        yield b"%d" % sum(len(each) for each in received)
        try:
            await receiver.receive()
        except StreamEnded as end:
            ends.append((end.code, end.details))

    async with aio_server({"Method": STREAM(handler)}, mode=mode) as address:
        async with aio_channel(address, mode=mode) as channel:
            call = channel.stream_stream(path("Method"))(numbers(100))
            assert await within(all_of(call)) == [b"100"]
    assert ends == [(None, "all messages were received")]


# FanOut


@MODES
async def test_every_subscriber_gets_every_message(mode: Any) -> None:
    """Each in order; a subscriber that comes when all is over is at the end."""
    async with serving(mode) as (channel, _):
        fan = FanOut[bytes](channel.stream_stream(path("Echo"))(numbers(100)))
        received = await outcomes(*(all_of(fan.subscribe()) for _ in range(3)))
        assert received == [await all_of(numbers(100))] * 3
        async with fan.subscribe() as late:
            with pytest.raises(StreamEnded) as ended:
                await late.receive()
        assert ended.value.code is grpc.StatusCode.OK


async def test_subscribers_of_each_kind() -> None:
    """One that waits holds up the others; the others lose their oldest, or are closed."""
    fan = FanOut(numbers(5))
    waits = fan.subscribe(maxsize=2)
    drops = fan.subscribe(maxsize=2, when_full="drop_oldest")
    fails = fan.subscribe(maxsize=1, when_full="fail")
    assert await all_of(waits) == [b"0", b"1", b"2", b"3", b"4"]
    assert await all_of(drops) == [b"3", b"4"]
    assert await fails.receive() == b"0"
    with pytest.raises(StreamEnded) as ended:
        await anext(fails)
    assert isinstance(ended.value.__cause__, asyncio.QueueFull)


async def test_a_subscriber_leaving() -> None:
    """It no longer holds up the others, and gets nothing; closing twice is legal."""
    fan = FanOut(numbers(5))
    stalled = fan.subscribe(maxsize=1)
    lively = fan.subscribe(maxsize=1)
    assert await lively.receive() == b"0"
    stalled.close()
    stalled.close()
    assert await within(all_of(lively)) == [b"1", b"2", b"3", b"4"]
    with pytest.raises(StreamEnded):
        await stalled.receive()


def test_a_loop_that_ends_while_somebody_reads() -> None:
    """The reading task goes with the loop, without a word."""

    async def main() -> Any:
        receiver = Receiver[int](Sender[int]())
        with pytest.raises(TimeoutError):
            await receiver.receive(0.001)
        return receiver

    assert asyncio.run(main())._reader.outlets.end.code is grpc.StatusCode.CANCELLED
