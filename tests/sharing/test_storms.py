"""Crowds on one sender or receiver, with time-outs, cancellations and RPCs that die midway.

Whatever the schedule: each accepted message was taken once, in its producer's order, or is
left; refused messages were not taken; and no thread or task hangs.
"""

from __future__ import annotations

import asyncio
import functools
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from support.sharing import COUNT, STREAM, grpc_threads, leave
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    in_thread,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import Receiver, Sender, StreamEnded, aio

THREADS, TASKS, MESSAGES = 64, 500, 200
DIES = pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])


class Storm:
    """What the producers meant to send, and what happened to it."""

    def __init__(self, producers: int, messages: int) -> None:
        self.producers, self.messages = producers, messages
        self.accepted: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.interrupted: set[bytes] = set()
        self.taken: list[bytes] = []  # by gRPC
        self.is_half_way = threading.Event()

    def take(self, message: bytes) -> bytes:
        """Serialize a message: gRPC has it now."""
        self.taken.append(message)
        if len(self.taken) == self.producers * self.messages // 4:
            self.is_half_way.set()
        return message

    def produce(self, sender: Sender[bytes], producer: int) -> None:
        chance = random.Random(producer)
        for number in range(self.messages):
            message = b"%d %d" % (producer, number)
            timeout = chance.choice([None, None, 0, 0.0005, PATIENCE])
            try:
                sender.send(message, timeout)
            except (TimeoutError, StreamEnded):
                self.refused.add(message)
            else:
                self.accepted.add(message)

    async def produce_async(self, sender: aio.Sender[bytes], producer: int) -> None:
        chance = random.Random(producer)
        for number in range(self.messages):
            message = b"%d %d" % (producer, number)
            timeout = chance.choice([None, None, 0, 0.0005, PATIENCE])
            sending = asyncio.create_task(sender.send(message, timeout))
            try:
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
                    if chance.random() < 0.5:
                        await asyncio.sleep(0)
                    sending.cancel()
                await sending
            except asyncio.CancelledError:
                self.interrupted.add(message)
            except (TimeoutError, StreamEnded):
                self.refused.add(message)
            else:
                self.accepted.add(message)

    def check(self, sender: Sender[bytes] | aio.Sender[bytes], *, dies: bool) -> None:
        arrived = [*self.taken, *sender.unsent()]
        assert len(set(arrived)) == len(arrived)
        assert not set(arrived) - self.accepted - self.interrupted
        assert not self.accepted - set(arrived)
        assert len(self.accepted | self.refused | self.interrupted) == (
            self.producers * self.messages
        )
        by_producer: dict[bytes, list[int]] = {}
        for message in arrived:
            producer, number = message.split()
            by_producer.setdefault(producer, []).append(int(number))
        assert all(sorted(numbers) == numbers for numbers in by_producer.values())
        statistics = sender.statistics()
        assert statistics.waiting == statistics.dropped == 0
        assert statistics.accepted == statistics.taken + statistics.queued == len(arrived)
        if not dies:
            assert not sender.unsent()


@DIES
def test_threads_on_a_client(dies: bool) -> None:
    """64 threads send on a client's stream."""
    before = grpc_threads()
    storm = Storm(THREADS, MESSAGES)
    got: list[bytes] = []

    def count(requests: Iterator[bytes], context: Any) -> bytes:
        got.extend(requests)
        return b""

    with sync_server({"Count": COUNT(count)}) as address, sync_channel(address) as channel:
        sender = Sender[bytes]()
        start = channel.stream_unary(path("Count"), request_serializer=storm.take)
        call = start.future(sender)
        parties = [in_thread(storm.produce, sender, number) for number in range(THREADS)]
        if dies:
            assert storm.is_half_way.wait(PATIENCE)
            call.cancel()
        for party in parties:
            party.result()
        sender.close()
        if not dies:
            call.result(PATIENCE)
            assert got == storm.taken
    leave(grpc_threads() - before)
    storm.check(sender, dies=dies)


@DIES
def test_threads_in_a_handler(dies: bool) -> None:
    """64 threads send on the responses of a handler."""
    storm = Storm(THREADS, MESSAGES)
    sender: Any = None

    def chat(requests: Any, context: Any) -> Sender[bytes]:
        nonlocal sender
        sender = Sender[bytes](context)
        producing = [in_thread(storm.produce, sender, number) for number in range(THREADS)]
        closing.append(in_thread(lambda: ([p.result() for p in producing], sender.close())))
        return sender

    closing: list[Any] = []
    method = grpc.stream_stream_rpc_method_handler(chat, response_serializer=storm.take)
    with sync_server({"Chat": method}) as address, sync_channel(address) as channel:
        call = channel.stream_stream(path("Chat"))(iter(()))
        got = []
        try:
            for message in call:
                got.append(message)
                if dies and storm.is_half_way.is_set():
                    call.cancel()
        except grpc.RpcError:
            assert dies
        closing[0].result()
        assert dies or got == storm.taken
    storm.check(sender, dies=dies)


async def _produce_all(storm: Storm, sender: aio.Sender[bytes]) -> None:
    async with sender, asyncio.TaskGroup() as group:
        for number in range(TASKS):
            group.create_task(storm.produce_async(sender, number))


@DIES
async def test_tasks_on_a_client(dies: bool) -> None:
    """500 tasks send on a client's stream."""
    storm = Storm(TASKS, MESSAGES // 10)
    got: list[bytes] = []

    async def count(requests: AsyncIterator[bytes], context: Any) -> bytes:
        async for request in requests:
            got.append(request)
        return b""

    async with aio_server({"Count": COUNT(count)}) as address, aio_channel(address) as channel:
        sender = aio.Sender[bytes]()
        call = channel.stream_unary(path("Count"), request_serializer=storm.take)(sender)
        producing = asyncio.create_task(_produce_all(storm, sender))
        if dies:
            await asyncio.to_thread(storm.is_half_way.wait, PATIENCE)
            call.cancel()
        await within(producing)
        if not dies:
            await within(call)
            assert got == storm.taken
    storm.check(sender, dies=dies)


@DIES
async def test_tasks_in_a_handler(dies: bool) -> None:
    """500 tasks send on the responses of a handler."""
    storm = Storm(TASKS, MESSAGES // 10)
    producing: list[asyncio.Task[None]] = []
    sender: Any = None

    async def chat(requests: Any, context: Any) -> AsyncIterator[bytes]:
        nonlocal sender
        sender = aio.Sender[bytes](context)
        producing.append(asyncio.create_task(_produce_all(storm, sender)))
        async for message in sender:
            yield message

    method = grpc.stream_stream_rpc_method_handler(chat, response_serializer=storm.take)
    async with aio_server({"Chat": method}) as address, aio_channel(address) as channel:
        call = channel.stream_stream(path("Chat"))()
        got = []
        try:
            async for message in call:
                got.append(message)
                if dies and storm.is_half_way.is_set():
                    call.cancel()
        except asyncio.CancelledError:
            assert dies
        await within(producing[0])
        assert dies or got == storm.taken
    storm.check(sender, dies=dies)


# Receiving


def _receive(receiver: Receiver[bytes], seed: int, times: int) -> list[bytes]:
    chance = random.Random(seed)
    got = []
    for _ in range(times):
        try:
            got.append(receiver.receive(chance.choice([0, 0, 0.0002, 0.001])))
        except TimeoutError:
            pass
        except StreamEnded:
            break
    got.extend(receiver)
    return got


def test_threads_receiving() -> None:
    """8 threads give up at random: each message goes to one of them."""

    def echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from requests

    sent = [b"%d" % number for number in range(2000)]
    with sync_server({"Echo": STREAM(echo)}) as address, sync_channel(address) as channel:
        receiver = Receiver[bytes](channel.stream_stream(path("Echo"))(iter(sent)))
        parties = [in_thread(_receive, receiver, seed, 500) for seed in range(8)]
        received = [party.result() for party in parties]
    assert all(sorted(each, key=int) == each for each in received)
    assert sorted((m for each in received for m in each), key=int) == sent


async def _receive_async(receiver: aio.Receiver[bytes], seed: int, times: int) -> list[bytes]:
    chance = random.Random(seed)
    got: list[bytes] = []
    acts: list[Callable[[], Any]] = [
        functools.partial(receiver.receive, 0),
        functools.partial(receiver.receive, 0.0002),
        receiver.receive,
    ]
    for _ in range(times):
        receiving = asyncio.create_task(chance.choice(acts)())
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        receiving.cancel()
        try:
            got.append(await receiving)
        except (TimeoutError, asyncio.CancelledError):
            pass
        except StreamEnded:
            break
    got.extend([message async for message in receiver])
    return got


@pytest.mark.parametrize("tasks", [1, 8])
async def test_tasks_receiving(tasks: int) -> None:
    """Tasks give up and are cancelled at random: each message goes to one of them, in order."""

    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    sent = [b"%d" % number for number in range(2000)]
    async with aio_server({"Echo": STREAM(echo)}) as address, aio_channel(address) as channel:
        receiver = aio.Receiver[bytes](channel.stream_stream(path("Echo"))(sent))
        received = await within(
            asyncio.gather(*(_receive_async(receiver, seed, 500) for seed in range(tasks)))
        )
    assert all(sorted(each, key=int) == each for each in received)
    assert sorted((m for each in received for m in each), key=int) == sent
