"""status(): the parties inside a stream."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.stage import BULK, NARROW
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    path,
    settle,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import status, wrap


@pytest.fixture
def address() -> Iterator[str]:
    """The address of a plain server."""

    def numbers(request: bytes, context: Any) -> Iterator[bytes]:
        yield from (b"0", b"1", b"2")

    with sync_server({"Numbers": grpc.unary_stream_rpc_method_handler(numbers)}, mode=None) as at:
        yield at


def test_asking_for_the_status_of_a_call(address: str) -> None:
    """status() names the reading thread, from any thread, and no party before and after."""
    gate = Gate()
    with sync_channel(address) as channel:
        start = channel.unary_stream(path("Numbers"), response_deserializer=gate.park_at(b"0"))
        call = start(b"")
        idle = status(call)
        assert (idle.read, idle.write) == (None, None)
        with pytest.raises(dataclasses.FrozenInstanceError):
            idle.read = idle.write
        reader = in_thread(next, call, name="reader")
        with gate.held():
            for during in (status(call), in_thread(status, call, name="onlooker").result()):
                assert during.write is None
                assert (during.read.kind, during.read.name) == ("thread", "reader")
                assert during.read.operation == "next"
                assert 0 <= during.read.held_seconds < PATIENCE
                assert during.read.site.function == "_run"
        assert reader.result() == b"0"
        assert status(call) == idle
        assert list(call) == [b"1", b"2"]


async def test_asking_for_the_status_of_an_aio_call() -> None:
    """status() names the tasks that read and write, from any thread."""

    async def deaf(requests: Any, context: Any) -> None:
        await asyncio.sleep(PATIENCE)

    async def consume(call: Any) -> bytes:
        return await call.read()

    async def produce(call: Any) -> None:
        await call.write(BULK)

    methods = {"Deaf": grpc.stream_stream_rpc_method_handler(deaf)}
    async with (
        aio_server(methods, mode=None, options=NARROW) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_stream(path("Deaf"))()
        await within(call.wait_for_connection())
        assert (status(call).read, status(call).write) == (None, None)
        tasks = [
            asyncio.create_task(consume(call), name="reader"),
            asyncio.create_task(produce(call), name="writer"),
        ]
        await settle()
        from_a_thread = await within(in_thread(status, call, name="onlooker").as_future())
        for during in (status(call), from_a_thread):
            assert (during.read.kind, during.read.name) == ("task", "reader")
            assert (during.read.operation, during.read.site.function) == ("read", "consume")
            assert (during.write.kind, during.write.name) == ("task", "writer")
            assert (during.write.operation, during.write.site.function) == ("write", "produce")
        call.cancel()
        await asyncio.wait(tasks)
        assert (status(call).read, status(call).write) == (None, None)


async def test_asking_for_the_status_of_a_call_with_a_queue(found: Any) -> None:
    """status() names the tasks that wait for their turn, each at its own line."""

    async def silent(request: bytes, context: Any) -> None:
        await asyncio.sleep(PATIENCE)

    async def receive(call: Any) -> bytes:
        return await call.read()

    async def consume(call: Any) -> bytes:
        return await receive(call)

    methods = {"Silent": grpc.unary_stream_rpc_method_handler(silent)}
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, mode="serialize") as channel,
    ):
        call = channel.unary_stream(path("Silent"))(b"")
        tasks = [asyncio.create_task(consume(call), name=name) for name in ("first", "second")]
        await settle()
        during = status(call)
        call.cancel()
        await asyncio.wait(tasks)
    assert (during.read.name, functions(during.read)) == ("first", ["consume", "receive"])
    (waiter,) = during.waiting
    assert (waiter.kind, waiter.name, waiter.operation) == ("task", "second", "read")
    assert functions(waiter) == ["consume", "receive"]
    assert [finding.rule for finding in found()] == ["concurrent-read"]


def functions(party: Any) -> list[str]:
    return [frame.function for frame in party.stack]


def test_asking_for_the_status_of_a_handler() -> None:
    """status() of a context names who reads the requests."""
    gate = Gate()
    seen: list[Any] = []

    def handler(requests: Any, context: Any) -> bytes:
        reader = in_thread(next, requests, name="reader")
        gate.wait()
        seen.extend([status(context), status(requests)])
        gate.open()
        return reader.result()

    park = gate.park_at(b"a")
    methods = {"Read": grpc.stream_unary_rpc_method_handler(handler, request_deserializer=park)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        assert channel.stream_unary(path("Read"))(iter([b"a"])) == b"a"
    for during in seen:
        assert (during.read.name, during.read.operation, during.write) == ("reader", "next", None)


@pytest.mark.parametrize("thing", [42, None, "text"])
def test_asking_for_the_status_of_something_else(thing: Any) -> None:
    """status() of what is not guarded is a TypeError."""
    with pytest.raises(TypeError) as raised:
        status(thing)
    name = type(thing).__name__
    assert str(raised.value) == f"status() takes a guarded call or context, not {name}"


def test_asking_for_the_status_of_a_plain_call(address: str) -> None:
    """status() of a plain call, or of a channel, is a TypeError."""
    with sync_channel(address, mode=None) as channel:
        call = channel.unary_stream(path("Numbers"))(b"")
        assert list(call) == [b"0", b"1", b"2"]
        for thing in (call, wrap(channel), channel):
            with pytest.raises(TypeError, match="status"):
                status(thing)
