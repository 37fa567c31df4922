"""The service: the same answers, from a server of the program."""

from __future__ import annotations

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
from support.staging import aio_channel, aio_server, settle, sync_channel, sync_server, within

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
