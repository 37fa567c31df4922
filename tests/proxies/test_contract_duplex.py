"""The contract, both directions at once, and hand-over as programs do it."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    path,
    settle,
    sync_channel,
    sync_server,
    telling,
    wait,
    within,
)

from grpc_guard import ConcurrencyError, status

MANY = [b"%d" % number for number in range(200)]


def echo(requests: Any, context: Any) -> Any:
    yield from requests


async def echo_async(requests: Any, context: Any) -> Any:
    async for request in requests:
        yield request


def handlers(stream_stream: Any = None, unary_stream: Any = None, stream_unary: Any = None) -> Any:
    given = {
        "Chat": stream_stream and grpc.stream_stream_rpc_method_handler(stream_stream),
        "List": unary_stream and grpc.unary_stream_rpc_method_handler(unary_stream),
        "Record": stream_unary and grpc.stream_unary_rpc_method_handler(stream_unary),
    }
    return {name: handler for name, handler in given.items() if handler is not None}


# Reading beside writing


def test_sync_client_next_beside_request_iterator(found):
    """A thread is in next() while gRPC's own thread is in the request iterator."""
    writing = Gate()

    def requests() -> Any:
        yield writing.park(b"1")

    with sync_server(handlers(echo)) as address, sync_channel(address) as channel:
        call = channel.stream_stream(path("Chat"))(requests())
        reader = inside_grpc(next, call, name="reader")
        with writing.held():
            now = status(call)
        assert (now.read.operation, now.read.name) == ("next", "reader")
        assert (now.write.operation, now.write.kind) == ("next(request_iterator)", "thread")
        assert reader.result() == b"1"
        assert list(call) == []
    assert found() == []


def test_sync_server_next_beside_response_iterator(found):
    """A handler's thread is in next(request_iterator) while gRPC's is in the responses."""
    seen: list[Any] = []

    def chat(requests: Any, context: Any) -> Any:
        reader = inside_grpc(next, requests, name="reader")
        seen.append(status(requests))
        yield b"one"
        yield reader.result()

    gate = Gate()

    def requests() -> Any:
        yield gate.park(b"two")

    with sync_server(handlers(chat)) as address, sync_channel(address) as channel:
        call = channel.stream_stream(path("Chat"))(requests())
        assert next(call) == b"one"
        gate.open()
        assert list(call) == [b"two"]
    [now] = seen
    assert (now.read.operation, now.read.name) == ("next", "reader")
    assert (now.write.operation, now.write.name) == ("next(response_iterator)", "worker_0")
    assert found() == []


async def test_aio_client_read_beside_write(found):
    """One task reads while another writes and half-closes: full duplex."""
    async with (
        aio_server(handlers(echo_async)) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Chat"))()
        reader = asyncio.create_task(call.read(), name="reader")
        await settle()
        writer = asyncio.create_task(call.write(b"1"), name="writer")
        await settle()
        now = status(call)
        assert (now.read.operation, now.read.name) == ("read", "reader")
        assert (now.write.operation, now.write.name) == ("write", "writer")
        await within(writer)
        assert await within(reader) == b"1"
        reader = asyncio.create_task(call.read(), name="reader")
        await settle()
        await within(call.done_writing())
        assert await within(reader) is grpc.aio.EOF
    assert found() == []


async def test_aio_server_read_beside_write(found):
    """A handler reads in one task and writes in another."""
    seen: list[Any] = []

    async def chat(requests: Any, context: Any) -> None:
        reader = asyncio.create_task(context.read(), name="reader")
        await settle()
        writer = asyncio.create_task(context.write(b"one"), name="writer")
        await settle()
        seen.append(status(context))
        await writer
        await context.write(await reader)

    async with (
        aio_server(handlers(chat)) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Chat"))()
        assert await within(call.read()) == b"one"
        await call.write(b"two")
        assert await within(call.read()) == b"two"
        assert await within(call.read()) is grpc.aio.EOF
    [now] = seen
    assert (now.read.operation, now.read.name) == ("context.read", "reader")
    assert (now.write.operation, now.write.name) == ("context.write", "writer")
    assert found() == []


async def test_aio_server_next_request_beside_yield(found):
    """A task of the handler reads requests while gRPC writes what the handler yielded."""
    seen: list[Any] = []

    async def chat(requests: Any, context: Any) -> Any:
        reader = asyncio.create_task(anext(aiter(requests)), name="reader")
        await settle()
        asyncio.get_running_loop().call_soon(lambda: seen.append(status(context)))
        yield b"one"
        yield await reader

    async with (
        aio_server(handlers(chat)) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Chat"))()
        assert await within(call.read()) == b"one"
        await call.write(b"two")
        assert await within(call.read()) == b"two"
        assert await within(call.read()) is grpc.aio.EOF
    [now] = seen
    assert (now.read.operation, now.read.name) == ("__anext__", "reader")
    assert (now.write.operation, now.write.kind) == ("yield", "task")
    assert found() == []


# Hand-over, many times


def read_in_turns(read: Callable[[], Any], readers: int = 4) -> list[Any]:
    """Let several threads read until the end, one lock around every read."""
    lock, messages = threading.Lock(), []

    def reader() -> None:
        while True:
            with lock:
                try:
                    messages.append(read())
                except StopIteration:
                    return

    for party in [in_thread(reader, name=f"reader-{number}") for number in range(readers)]:
        party.result()
    return messages


async def read_in_turns_async(read: Callable[[], Any], readers: int = 4) -> list[Any]:
    """Let several tasks read until the end, one lock around every read."""
    lock, messages = asyncio.Lock(), []

    async def reader() -> None:
        while True:
            async with lock:
                try:
                    message = await read()
                except StopAsyncIteration:
                    return
                if message is grpc.aio.EOF:
                    return
                messages.append(message)

    await within(asyncio.gather(*(reader() for _ in range(readers))))
    return messages


@pytest.mark.parametrize("single_threaded", [False, True])
def test_sync_client_readers_under_a_lock(single_threaded, found):
    """Threads that hold one lock around every next() may all read one stream."""
    with (
        sync_server(handlers(unary_stream=lambda request, context: iter(MANY))) as address,
        sync_channel(address, single_threaded=single_threaded) as channel,
    ):
        call = channel.unary_stream(path("List"))(b"")
        assert read_in_turns(lambda: next(call)) == MANY
    assert found() == []


def test_sync_server_readers_under_a_lock(found):
    """Threads of a handler that hold one lock around every next() may all read its requests."""

    def record(requests: Any, context: Any) -> bytes:
        return b" ".join(read_in_turns(lambda: next(requests)))

    with (
        sync_server(handlers(stream_unary=record)) as address,
        sync_channel(address) as channel,
    ):
        assert channel.stream_unary(path("Record"))(iter(MANY)) == b" ".join(MANY)
    assert found() == []


@pytest.mark.parametrize("style", ["read", "iterate"])
async def test_aio_client_readers_under_a_lock(style, found):
    """Tasks that hold one lock around every read may all read one stream."""

    async def numbers(request: Any, context: Any) -> Any:
        for number in MANY:
            yield number

    async with (
        aio_server(handlers(unary_stream=numbers)) as address,
        aio_channel(address) as channel,
    ):
        call = channel.unary_stream(path("List"))(b"")
        read = call.read if style == "read" else lambda: anext(aiter(call))
        assert await read_in_turns_async(read) == MANY
    assert found() == []


async def test_aio_server_readers_and_writers_under_locks(found):
    """Tasks of a handler that hold a lock around every read, and one around every write."""

    async def chat(requests: Any, context: Any) -> None:
        messages = await read_in_turns_async(context.read)
        lock, left = asyncio.Lock(), iter(messages)

        async def writer() -> None:
            while True:
                async with lock:
                    message = next(left, None)
                    if message is None:
                        return
                    await context.write(message)

        await within(asyncio.gather(*(writer() for _ in range(4))))

    async with (
        aio_server(handlers(chat)) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Chat"))(MANY)
        assert [message async for message in call] == MANY
    assert found() == []


def test_sync_reader_that_feeds_a_queue(found):
    """One thread reads and many work: messages go through a queue."""
    inbox: queue.Queue[Any] = queue.Queue()
    done: queue.Queue[Any] = queue.Queue()

    def worker() -> None:
        while (message := inbox.get(timeout=PATIENCE)) is not None:
            done.put(message)

    with sync_server(handlers(echo)) as address, sync_channel(address) as channel:
        workers = [in_thread(worker, name=f"worker-{number}") for number in range(4)]
        for message in channel.stream_stream(path("Chat"))(iter(MANY)):
            inbox.put(message)
        for party in workers:
            inbox.put(None)
        for party in workers:
            party.result()
    assert sorted(done.queue) == sorted(MANY)
    assert found() == []


async def test_aio_writer_fed_by_a_queue(found):
    """Many tasks produce and one writes: messages go through a queue."""
    outbox: asyncio.Queue[Any] = asyncio.Queue()

    async def producer(part: list[bytes]) -> None:
        for message in part:
            await outbox.put(message)

    async with (
        aio_server(handlers(echo_async)) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Chat"))()
        reader = asyncio.create_task(read_in_turns_async(call.read, readers=1))
        producers = [asyncio.create_task(producer(MANY[start::4])) for start in range(4)]
        for _ in MANY:
            await call.write(await within(outbox.get()))
        await call.done_writing()
        await within(asyncio.gather(*producers))
        assert sorted(await within(reader)) == sorted(MANY)
    assert found() == []


def test_iterator_given_from_thread_to_thread(found):
    """A stream may wander: each thread reads a few and hands the call to the next."""
    with (
        sync_server(handlers(unary_stream=lambda request, context: iter(MANY))) as address,
        sync_channel(address) as channel,
    ):
        call = channel.unary_stream(path("List"))(b"")
        messages: list[bytes] = []
        for number in range(20):
            few = in_thread(list, itertools.islice(call, 10), name=f"reader-{number}")
            messages += few.result()
        assert messages == MANY
    assert found() == []


# Overlaps that do not look like it, and the other way round


async def test_next_given_up_by_wait_for(found):
    """A thread that wait_for() no longer waits for still reads: the next read is refused."""
    gate = Gate()

    def numbers(request: Any, context: Any) -> Any:
        gate.park()
        yield from MANY[:3]

    loop = asyncio.get_running_loop()
    with (
        ThreadPoolExecutor(2, "executor") as pool,
        sync_server(handlers(unary_stream=numbers)) as address,
        sync_channel(address) as channel,
    ):
        call = channel.unary_stream(path("List"))(b"")
        read, entered = telling(lambda: next(call, None))
        parked = pool.submit(read)
        wait(entered)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(parked), 0)
        with pytest.raises(ConcurrencyError, match="thread 'executor_0' has been in next"):
            await within(loop.run_in_executor(pool, next, call, None))
        gate.open()
        assert parked.result(PATIENCE) == MANY[0]
        assert list(call) == MANY[1:3]
    [finding] = found()
    assert finding.owner.name == "executor_0"
