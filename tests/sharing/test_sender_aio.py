"""Sender for tasks: on a client, in a handler, and from threads."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import RouteNote
from support.sharing import STREAM, UNSENDABLE, AioPeer
from support.staging import (
    PATIENCE,
    AsyncGate,
    aio_channel,
    aio_server,
    in_thread,
    outcomes,
    path,
    settle,
    within,
)

import grpc_guard
from grpc_guard.aio import Sender, StreamEnded

MODES = pytest.mark.parametrize("mode", [None, "raise"], ids=["plain", "guarded"])


@asynccontextmanager
async def serving(mode: Any, **options: Any) -> AsyncIterator[tuple[Any, AioPeer]]:
    """Yield a channel to a peer, and the peer."""
    peer = AioPeer()
    async with aio_server(peer.methods(), mode=mode) as address:
        async with aio_channel(address, mode=mode, **options) as channel:
            yield channel, peer
            peer.go.set()


async def waiting(sender: Sender[Any]) -> None:
    """Wait until a task waits for room, or for a flush."""
    while not (sender.statistics().waiting or sender._buffer.flushers):
        await settle()


async def never(sender: Sender[bytes], channel: Any, method: str) -> Any:
    """Start an RPC whose peer never reads, and fill the sender: gRPC is in a write."""
    call = channel.stream_stream(path(method))(sender)
    assert await call.read() == b"begun"
    with pytest.raises(TimeoutError):
        while True:
            await sender.send(UNSENDABLE, 0.5)
    return call


# Sending


@MODES
async def test_many_tasks_sending(mode: Any) -> None:
    """Each message arrives once, each producer's in order, and close() half-closes after all."""
    async with serving(mode) as (channel, _):
        sender = Sender[bytes]()
        call = channel.stream_stream(path("Echo"))(sender)

        async def produce(n: int) -> None:
            for i in range(50):
                await sender.send(b"%d %d" % (n, i))

        async def produce_all() -> None:
            async with sender, asyncio.TaskGroup() as group:
                for n in range(8):
                    group.create_task(produce(n))

        producing = asyncio.create_task(produce_all())
        answers = [answer async for answer in call]
        await producing
        assert len(answers) == 400
        for n in range(8):
            assert [a for a in answers if a.startswith(b"%d " % n)] == [
                b"%d %d" % (n, i) for i in range(50)
            ]
        assert sender.statistics() == Sender.Statistics(400, 400, 0, 0, 0)
        await sender.flush()


@MODES
async def test_sending_on_a_stream_unary_call(mode: Any) -> None:
    """A call with one response takes a sender."""
    async with serving(mode) as (channel, _):
        sender = Sender[bytes]()
        call = channel.stream_unary(path("Count"))(sender)
        await sender.send(b"1")
        sender.close()
        assert await within(call) == b"1"


@MODES
async def test_sending_through_an_interceptor(mode: Any) -> None:
    """The sender finds its RPC behind interceptors, and their generators."""

    class Doubling(grpc.aio.StreamStreamClientInterceptor):
        async def intercept_stream_stream(self, continuation: Any, details: Any, it: Any) -> Any:
            async def doubled() -> AsyncIterator[bytes]:
                async for request in it:
                    yield request * 2

            return await continuation(details, doubled())

    async with serving(mode, interceptors=[Doubling()]) as (channel, _):
        sender = Sender[bytes]()
        call = channel.stream_stream(path("Echo"))(sender)
        await sender.send(b"a")
        assert await within(call.__aiter__().__anext__()) == b"aa"
        call.cancel()
        with pytest.raises(StreamEnded):
            while True:
                await sender.send(b"b", PATIENCE)


async def test_changing_a_message_after_sending_it() -> None:
    """A protobuf message is sent as it was when send() was called."""
    sender = Sender[RouteNote]()
    note = RouteNote()
    for number in range(3):
        note.message = str(number)
        await sender.send(note)
    sender.close()
    assert [note.message async for note in sender] == ["0", "1", "2"]


async def test_full() -> None:
    """Each policy, as for threads."""
    sender = Sender[int](maxsize=2, when_full="fail")
    await sender.send(1)
    await sender.send(2)
    with pytest.raises(asyncio.QueueFull):
        await sender.send(3)
    sender = Sender[int](maxsize=2, when_full="drop_oldest")
    for number in range(5):
        await sender.send(number)
    assert sender.unsent() == [3, 4]
    sender = Sender[int](maxsize=1)
    await sender.send(0)
    with pytest.raises(TimeoutError, match=r"^no room for a message within 0.001 s$"):
        await sender.send(1, timeout=0.001)
    assert sender.unsent() == [0]


async def test_being_cancelled_while_waiting_for_room() -> None:
    """The message is not sent, though there was room by the time the task heard of it."""
    sender = Sender[int](maxsize=1)
    await sender.send(0)
    first, second = (asyncio.create_task(sender.send(number)) for number in (1, 2))
    await waiting(sender)
    await settle()
    first.cancel()
    await outcomes(first)
    assert await anext(sender) == 0
    second.cancel()  # it was accepted a moment ago, and has not heard of it
    [outcome] = await outcomes(second)
    assert isinstance(outcome, asyncio.CancelledError)
    assert sender.statistics() == (1, 1, 0, 0, 0)
    late = asyncio.create_task(sender.send(3, timeout=PATIENCE))
    await outcomes(late)
    sender.close()
    assert [number async for number in sender] == [3]


async def test_a_timeout_that_comes_with_the_room() -> None:
    """What was accepted in time is no TimeoutError."""
    sender = Sender[int](maxsize=1)
    await sender.send(0)
    late = asyncio.create_task(sender.send(1, timeout=PATIENCE))
    await waiting(sender)
    timer = min(late.get_loop()._scheduled)  # type: ignore[attr-defined]
    assert await anext(sender) == 0
    timer._run()  # the timeout, in the moment after
    assert await outcomes(late) == [None]
    assert sender.unsent() == [1]


# The end


@MODES
@pytest.mark.parametrize("method", ["Ends", "Refuses"])
async def test_the_server_ending_the_rpc(mode: Any, method: str) -> None:
    """Waiting tasks get StreamEnded, with code, details and what is left; the queue is bounded."""
    async with serving(mode) as (channel, peer):
        sender = Sender[bytes](maxsize=4)
        call = await never(sender, channel, method)

        async def produce() -> None:
            while True:
                await sender.send(b"late")

        producing = [asyncio.create_task(produce()) for _ in range(3)]
        await waiting(sender)
        peer.go.set()
        for error in await outcomes(*producing):
            assert isinstance(error, StreamEnded)
            expected = grpc.StatusCode.OK if method == "Ends" else grpc.StatusCode.NOT_FOUND
            assert (error.code, error.left) == (expected, len(sender.unsent()))
            assert error.details == ("" if method == "Ends" else "gone")
        assert call.done()


class Call:
    """A call whose end the test says."""

    def add_done_callback(self, callback: Any) -> None:
        self.end = callback

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    async def details(self) -> str:
        return "away"


async def test_the_end_while_others_wait() -> None:
    """Tasks that wait for room, for a flush, or for a message are woken at once."""
    call = Call()
    sender = Sender[int](call, maxsize=2)
    await sender.send(0)
    await sender.send(1)
    parties = [asyncio.create_task(sender.send(2)), asyncio.create_task(sender.flush())]
    await waiting(sender)
    call.end(call)
    call.end(call)
    for error in await outcomes(*parties, sender.flush(), sender.send(3)):
        assert isinstance(error, StreamEnded)
        assert (error.code, error.details, error.left) == (
            grpc.StatusCode.UNAVAILABLE,
            "away",
            2,
        )
    assert [message async for message in sender] == []
    assert sender.unsent() == [0, 1]
    call = Call()
    sender = Sender[int](call)
    taking = asyncio.create_task(anext(sender, None))
    await settle()
    call.end(call)
    assert await outcomes(taking, sender.flush()) == [None, None]


@MODES
@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_ending_the_rpc_while_grpc_waits_for_a_message(mode: Any, how: str) -> None:
    """gRPC's task leaves the sender, and nothing of the RPC is left."""
    async with serving(mode) as (channel, _):
        sender = Sender[bytes]()
        call = channel.stream_stream(path("Echo"))(sender)
        await sender.send(b"a")
        assert await call.read() == b"a"
        await sender.flush(PATIENCE)
        if how == "cancel":
            call.cancel()
        else:
            await channel.close()
        with pytest.raises(StreamEnded) as ended:
            while True:
                await sender.send(b"b", PATIENCE)
        assert ended.value.code is grpc.StatusCode.CANCELLED
        tasks = [task for task in asyncio.all_tasks() if "consume_request" in repr(task)]
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        assert [message async for message in sender] == []


@MODES
async def test_the_server_ending_while_grpc_waits_for_a_message(mode: Any) -> None:
    """gRPC's task leaves the sender, which plain iterators are never told."""
    async with serving(mode) as (channel, peer):
        sender = Sender[bytes]()
        call = channel.stream_stream(path("Ends"))(sender)
        assert await call.read() == b"begun"
        peer.go.set()
        assert await call.read() is grpc.aio.EOF
        tasks = [task for task in asyncio.all_tasks() if "consume_request" in repr(task)]
        await within(asyncio.gather(*tasks))
        with pytest.raises(StreamEnded):
            await sender.send(b"a")


async def test_closing_while_others_wait_for_room() -> None:
    """Accepted messages are sent; waiting tasks get StreamEnded. Any thread may call close()."""
    sender = Sender[int](maxsize=1)
    await sender.send(0)
    party = asyncio.create_task(sender.send(1))
    await waiting(sender)
    await within(in_thread(sender.close).as_future())
    [error] = await outcomes(party)
    assert isinstance(error, StreamEnded)
    assert (error.code, error.details) == (None, "close() was called")
    assert [number async for number in sender] == [0]


async def test_closing_while_grpc_waits() -> None:
    """A task that waits for a message gets the end."""
    sender = Sender[int]()
    taking = asyncio.create_task(anext(sender, None))
    await settle()
    sender.close()
    assert await outcomes(taking) == [None]


async def test_interrupting_who_takes() -> None:
    """A message that had been handed over goes to the next."""
    sender = Sender[int]()
    for others in (False, True):
        taking = asyncio.create_task(anext(sender))
        await settle()
        other = asyncio.create_task(anext(sender)) if others else None
        await settle()
        await sender.send(1)
        taking.cancel()
        await outcomes(taking)
        assert (await other if other else await anext(sender)) == 1
    taking = asyncio.create_task(anext(sender))
    await settle()
    taking.cancel()
    await outcomes(taking)
    assert not sender._buffer.takers


async def test_flushing() -> None:
    """flush() returns when who takes comes back, and raises TimeoutError if not in time."""
    sender = Sender[int]()
    await sender.flush()
    await sender.send(1)
    with pytest.raises(TimeoutError, match=r"^not all was written within 0.001 s$"):
        await sender.flush(0.001)
    flushing = asyncio.create_task(sender.flush())
    assert await anext(sender) == 1
    await settle()
    assert not flushing.done()
    taking = asyncio.create_task(anext(sender, None))
    await within(flushing)
    await sender.flush()
    sender.close()
    await within(taking)


@pytest.mark.parametrize("thing", [3])
async def test_attaching_what_is_no_call(thing: Any) -> None:
    """It is refused."""
    with pytest.raises(TypeError) as raised:
        Sender(thing)
    assert str(raised.value) == "not a call of grpc.aio, nor the context of a handler: 3"


@MODES
async def test_attaching_a_call(mode: Any) -> None:
    """A call whose requests come from elsewhere may end a sender, too."""
    async with serving(mode) as (channel, _):
        call = channel.stream_stream(path("Echo"))()
        sender = Sender[bytes](call)
        call.cancel()
        taking = asyncio.create_task(anext(sender, None))
        assert await outcomes(taking) == [None]


async def test_a_code_that_is_not_known_yet() -> None:
    """A foreign call whose code has to be waited for has none."""

    class Call:
        def add_done_callback(self, callback: Any) -> None:
            callback(self)

        async def code(self) -> None:
            await asyncio.sleep(0)

        details = code

    sender = Sender[int](Call())
    with pytest.raises(StreamEnded) as ended:
        await sender.send(1)
    assert (ended.value.code, ended.value.details) == (None, None)
    assert str(ended.value) == "no more messages"


# Threads


@MODES
async def test_sending_from_threads(mode: Any) -> None:
    """A thread sends on the loop, and is told what happened there."""
    async with serving(mode) as (channel, _):
        sender = Sender[bytes]()
        call = channel.stream_stream(path("Echo"))(sender)
        threads = [in_thread(sender.send_from_thread, b"%d" % number) for number in range(5)]
        await within(asyncio.gather(*(thread.as_future() for thread in threads)))
        sender.close()
        assert sorted([answer async for answer in call]) == [b"%d" % n for n in range(5)]
        late = in_thread(sender.send_from_thread, b"late").as_future()
        assert isinstance((await outcomes(late))[0], StreamEnded)


async def test_a_thread_waiting_for_room_in_vain() -> None:
    """It gets TimeoutError."""
    sender = Sender[int](maxsize=1)
    await sender.send(0)
    late = in_thread(sender.send_from_thread, 1, 0.001).as_future()
    assert isinstance((await outcomes(late))[0], TimeoutError)


async def test_sending_from_the_loops_own_thread() -> None:
    """It would wait for itself."""
    sender = Sender[int]()
    with pytest.raises(RuntimeError) as raised:
        sender.send_from_thread(1)
    assert str(raised.value) == "send_from_thread() would block the loop it waits for: await send()"


def test_a_loop_that_closes() -> None:
    """Threads that wait get StreamEnded, and so do those that come later; close() is legal."""
    senders = []

    async def main() -> Any:
        sender = Sender[int](maxsize=1)
        senders.append(sender)
        await sender.send(0)
        party = in_thread(sender.send_from_thread, 1)
        await waiting(sender)
        return party

    party = asyncio.run(main())
    error = party.exception()
    assert isinstance(error, StreamEnded)
    assert error.details == "the event loop is closing"
    [sender] = senders
    with pytest.raises(StreamEnded) as ended:
        sender.send_from_thread(2)
    assert ended.value.details == "the event loop is closed"
    sender.close()


def test_the_end_coming_after_the_loop() -> None:
    """An end that arrives when the loop is closed wakes no task, and raises nothing."""

    async def main() -> Any:
        sender = Sender[int]()
        future = sender.send.__globals__["future_waiter"](asyncio.get_running_loop())
        sender._buffer.takers.append(future)
        return sender

    sender = asyncio.run(main())
    sender._buffer.close()
    gc.collect()


async def test_no_loop() -> None:
    """A sender is made in a loop."""
    error = (await outcomes(in_thread(Sender).as_future()))[0]
    assert isinstance(error, RuntimeError)


# Handlers


@MODES
async def test_a_handler_that_others_write_to(mode: Any) -> None:
    """Tasks of the server send on the response stream; the end of the RPC ends it."""
    senders: asyncio.Queue[Sender[bytes]] = asyncio.Queue()

    async def handler(requests: Any, context: Any) -> AsyncIterator[bytes]:
        sender = Sender[bytes](context, maxsize=1)
        senders.put_nowait(sender)
        async for message in sender:
            yield message
            if message == b"abort":
                await context.abort(grpc.StatusCode.ABORTED, "enough")

    async with aio_server({"Chat": STREAM(handler)}, mode=mode) as address:
        async with aio_channel(address, mode=mode) as channel:
            start = channel.stream_stream(path("Chat"))
            for how, code in [("close", "OK"), ("abort", "ABORTED"), ("cancel", "CANCELLED")]:
                call = start()
                sender = await within(senders.get())
                await sender.send(b"a")
                assert await within(call.read()) == b"a"
                if how == "close":
                    sender.close()
                    assert await within(call.read()) is grpc.aio.EOF
                    taking = asyncio.create_task(sender.flush())
                    await outcomes(taking)
                elif how == "cancel":
                    call.cancel()
                else:
                    await sender.send(b"abort")
                with pytest.raises(StreamEnded) as ended:
                    while True:
                        await sender.send(UNSENDABLE, PATIENCE)
                if how != "close":
                    assert ended.value.code is grpc.StatusCode[code]


@MODES
async def test_a_handler_that_ends_with_producers_alive(mode: Any) -> None:
    """They get StreamEnded as the handler returns."""
    senders: asyncio.Queue[Sender[bytes]] = asyncio.Queue()
    gate = AsyncGate()

    async def handler(requests: Any, context: Any) -> AsyncIterator[bytes]:
        sender = Sender[bytes](context, maxsize=1)
        senders.put_nowait(sender)
        yield await anext(sender)
        await gate.park()

    async with aio_server({"Chat": STREAM(handler)}, mode=mode) as address:
        async with aio_channel(address, mode=mode) as channel:
            call = channel.stream_stream(path("Chat"))()
            sender = await within(senders.get())
            await sender.send(b"a")
            assert await within(call.read()) == b"a"
            async with gate.held():
                await sender.send(b"b")
                party = asyncio.create_task(sender.send(b"c"))
                await waiting(sender)
            [error] = await outcomes(party)
            assert isinstance(error, StreamEnded)
            assert (error.code, error.details, error.left) == (grpc.StatusCode.OK, "", 1)
            assert await within(call.read()) is grpc.aio.EOF


@MODES
async def test_a_sync_handler_of_an_aio_server(mode: Any) -> None:
    """It has a sender for threads."""

    def handler(request: bytes, context: Any) -> Any:
        sender = grpc_guard.Sender[bytes](context)
        sender.send(b"a")
        sender.close()
        return sender

    method = grpc.unary_stream_rpc_method_handler(handler)
    async with aio_server({"Chat": method}, mode=mode) as address:
        async with aio_channel(address, mode=mode) as channel:
            call = channel.unary_stream(path("Chat"))(b"")
            assert [message async for message in call] == [b"a"]
