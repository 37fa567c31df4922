"""The service: the same answers, from a server of the program."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import Any

import grpc
import pytest
from inside import (
    Api,
    Mode,
    Side,
    Stream,
    inspect_messages,
    inspect_service,
    inspection_pb2,
    ledger,
)
from inside import guard_violations as violations
from support.staging import (
    SERVICE,
    Gate,
    aio_channel,
    aio_server,
    path,
    settle,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import inspection

WATCH = f"/{inspect_service.SERVICE}/WatchFindings"
TAKE = f"/{inspect_service.SERVICE}/TakeSnapshot"


def find(rpc: str) -> None:
    """Let a finding occur."""
    stream = Stream(rpc, Side.SERVER, Api.SYNC, Mode.WARN)
    stream.ended = True
    violations.used_after_end(stream, "read")


def watching(channel: Any) -> Any:
    start = channel.unary_stream(
        WATCH,
        request_serializer=inspection_pb2.Request.SerializeToString,
        response_deserializer=inspection_pb2.Finding.FromString,
    )
    return start(inspection_pb2.Request(version=1))


@pytest.fixture
def sinks() -> Any:
    """No sink is left behind."""
    before = list(ledger._sinks)
    yield
    assert ledger._sinks == before


def test_a_sync_server(found: Any, sinks: Any) -> None:
    """It answers, and tells findings as they occur."""
    with sync_server(inspection.add_servicer) as address, sync_channel(address) as channel:
        assert inspect_service.ask_service(channel, 20.0).pid == os.getpid()
        find("one")
        call = watching(channel)
        assert next(call).rpc == "one"
        find("two")
        assert next(call).rpc == "two"
        call.cancel()
    found()


async def test_an_aio_server(found: Any, sinks: Any) -> None:
    """So does one of grpc.aio."""
    async with aio_server(inspection.add_servicer) as address, aio_channel(address) as channel:
        take = channel.unary_unary(TAKE, inspection_pb2.Request.SerializeToString)
        reply = inspection_pb2.Reply.FromString(await take(inspection_pb2.Request(version=1)))
        assert inspect_messages.snapshot_of(reply.snapshot).pid == os.getpid()
        find("one")
        call = watching(channel)
        assert (await call.read()).rpc == "one"
        find("two")
        assert (await within(call.read())).rpc == "two"
        call.cancel()
        while ledger._sinks:
            await settle()
    found()


async def test_the_loop_goes_on(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an aio server takes a snapshot, other RPCs of it are answered."""
    gate = Gate()
    taken = inspect_service.reply
    monkeypatch.setattr(inspect_service, "reply", lambda: gate.park(taken()))
    async with aio_server(both) as address, aio_channel(address) as channel:
        take = channel.unary_unary(TAKE, inspection_pb2.Request.SerializeToString)
        call = take(inspection_pb2.Request(version=1))
        await asyncio.to_thread(gate.wait)
        with gate.held():
            assert await within(channel.unary_unary(path("Echo"))(b"a")) == b"a"
        reply = inspection_pb2.Reply.FromString(await within(call))
        assert inspect_messages.snapshot_of(reply.snapshot).pid == os.getpid()
    found()


def both(server: Any) -> None:
    """Register the service and an RPC of the program."""
    inspection.add_servicer(server)
    methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))


async def echo(request: Any, context: Any) -> Any:
    return request


async def test_a_hundred_ask_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One look at a time; who asks during one gets the next, and who has left costs nothing."""
    gates, looks = [Gate(), Gate(), Gate()], itertools.count()

    def look() -> bytes:
        number = next(looks)
        gates[number].park()
        return b"%d" % number

    monkeypatch.setattr(inspect_service, "reply", look)
    askers = inspect_service._Looks()
    first = asyncio.create_task(askers.take(None, None))
    await asyncio.to_thread(gates[0].wait)
    others = [asyncio.create_task(askers.take(None, None)) for _ in range(99)]
    await settle()
    others.pop().cancel()
    gates[0].open()
    assert await within(first) == b"0"
    await asyncio.to_thread(gates[1].wait)
    late = asyncio.create_task(askers.take(None, None))
    await settle()
    late.cancel()  # nobody is left for a third look
    others.pop().cancel()
    gates[1].open()
    assert await within(asyncio.gather(*others)) == [b"1"] * 97
    assert not askers._is_looking


async def test_no_thread_for_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can be none, the answer is made on the loop."""

    def start(look: Any) -> None:
        raise OSError("can't start new thread")

    monkeypatch.setattr(inspect_service, "start", start)
    reply = inspection_pb2.Reply.FromString(await inspect_service._Looks().take(None, None))
    assert reply.snapshot.pid == os.getpid()


def test_a_loop_that_is_closed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends without a word."""
    looks: list[Any] = []
    monkeypatch.setattr(inspect_service, "start", looks.append)

    async def ask() -> Any:
        asked = asyncio.create_task(inspect_service._Looks().take(None, None))
        await settle()
        return asked

    asked = asyncio.run(ask())
    (look,) = looks
    look()
    assert asked.cancelled()


def test_one_that_is_over_already(sinks: Any) -> None:
    """Who has gone before the handler begins is not told anything."""

    class Context:
        def add_callback(self, callback: Any) -> bool:
            return False

    assert list(inspect_service._watch(None, Context())) == []


def test_the_end_of_the_rpc(sinks: Any) -> None:
    """Who waits for a finding is let go when the RPC ends."""

    class Context:
        def add_callback(self, callback: Any) -> bool:
            callback()
            return True

    assert list(inspect_service._watch(None, Context())) == []


def test_what_is_no_server() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(TypeError, match=r"add_servicer\(\) takes a server of grpc"):
            inspection.add_servicer(channel)


def test_the_look_itself_holds_no_pool(found: Any) -> None:
    """A thread that takes the snapshot for who asks is free again at once: nothing follows from it."""
    with (
        sync_server(inspection.add_servicer, workers=1) as address,
        sync_channel(address) as channel,
    ):
        taken = inspect_service.ask_service(channel, 20.0)
    (server,) = taken.servers
    assert [handler.rpc for handler in server.handlers] == [TAKE]
    assert [one.kind for one in taken.deductions] == []
