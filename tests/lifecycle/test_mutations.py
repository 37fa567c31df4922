"""message-mutated: messages that are changed while they wait to be sent, and those that may be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.struct_pb2 import Struct
from inside import contents_of, core_stream, has_changed
from support.metaclasses import Telling
from support.staging import (
    RELEASE,
    AsyncGate,
    aio_channel,
    aio_server,
    outcomes,
    path,
    settle,
    within,
)

from grpc_guard import Finding

Found = Callable[[], list[Finding]]
Text = wrappers_pb2.StringValue
ECHO = path("Echo")


class Interceptor(grpc.aio.StreamStreamClientInterceptor):
    """Puts a generator around the requests."""

    def __init__(self, around: Callable[[Any], Any]) -> None:
        self._around = around

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, self._around(requests))


async def echo(requests: Any, context: Any) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


async def leave(requests: Any, context: Any) -> None:
    """End the RPC at once."""


@asynccontextmanager
async def call_through(
    around: Callable[[Any], Any], handler: Any = echo, serializer: Any = Text.SerializeToString
) -> AsyncIterator[Any]:
    """Yield a guarded call whose requests go through the generator `around`."""
    methods = {"Echo": grpc.stream_stream_rpc_method_handler(handler)}
    interceptors = [Interceptor(around)]
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, interceptors=interceptors) as channel,
    ):
        yield channel.stream_stream(ECHO, request_serializer=serializer)()


async def as_they_are(requests: Any) -> AsyncIterator[Any]:
    async for request in requests:
        yield request


def held(gate: AsyncGate) -> Callable[[Any], Any]:
    async def around(requests: Any) -> AsyncIterator[Any]:
        await gate.park()
        async for request in requests:
            yield request

    return around


async def drained(call: Any) -> list[Any]:
    await within(call.done_writing())
    return [message async for message in call]


async def test_a_message_changed_in_the_queue(found: Found) -> None:
    """What is changed before grpcio takes it out of its queue is found, at the line of its write()."""
    gate = AsyncGate()
    async with call_through(held(gate)) as call:
        message = Text(value="secret")
        await call.write(message)
        await settle()
        message.value = "other"
        gate.open()
        assert await drained(call) == [Text(value="other").SerializeToString()]
    (finding,) = found()
    assert (finding.rule, finding.severity) == ("message-mutated", "error")
    assert (finding.rpc, finding.side, finding.api) == (ECHO, "client", "aio")
    assert "(StringValue) was changed afterwards" in finding.message
    assert "secret" not in finding.message
    assert finding.caller.site is not None
    assert finding.caller.site.code == "await call.write(message)"


async def test_a_message_written_again_at_once(found: Found) -> None:
    """A message that is changed and written again before the loop turns is found, sent or not."""
    async with call_through(as_they_are) as call:
        message = Text()
        for value in "012":
            message.value = value
            await call.write(message)
        await drained(call)
    assert {(finding.rule.name, finding.count) for finding in found()} == {("message-mutated", 2)}


async def test_a_message_changed_behind_a_task(found: Found) -> None:
    """A write() that is a task of its own is found at the line that awaits it."""
    gate = AsyncGate()
    async with call_through(held(gate)) as call:
        message = Text(value="1")
        writing = asyncio.create_task(call.write(message))
        await writing
        message.value = "2"
        gate.open()
        await drained(call)
    (finding,) = found()
    assert finding.caller.site is not None
    assert (finding.caller.relation, finding.caller.site.code) == ("awaited-by", "await writing")


async def test_a_container_changed_in_the_queue(found: Found) -> None:
    """A dict that a serializer of the program takes is looked at, too."""
    gate = AsyncGate()

    def serialize(message: Any) -> bytes:
        return json.dumps(message).encode()

    async with call_through(held(gate), serializer=serialize) as call:
        message = {"values": [1]}
        await within(call.write(message))
        await settle()
        message["values"].append(2)
        gate.open()
        assert await drained(call) == [b'{"values": [1, 2]}']
    (finding,) = found()
    assert "(dict)" in finding.message


@pytest.mark.parametrize("is_counted", [True, False])
async def test_a_large_message(
    is_counted: bool, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where operations are not counted, a call is not looked at any more once it was large."""
    monkeypatch.setattr(core_stream, "counting", is_counted)
    gate = AsyncGate()
    async with call_through(held(gate)) as call:
        await call.write(Text(value="x" * 100_000))
        message = Text(value="1")
        writing = asyncio.create_task(call.write(message))
        await within(gate.wait())
        await settle()  # the write has begun
        message.value = "2"
        gate.open()
        await within(writing)
        assert len(await drained(call)) == 2
    assert len(found()) == is_counted


@pytest.mark.usefixtures("found")
async def test_messages_of_their_own() -> None:
    """A message for each write(), and one that is written again as it is, are no finding."""
    async with call_through(as_they_are) as call:
        for value in "012":
            await within(call.write(Text(value=value)))
        same = Text(value="3")
        for _ in range(3):
            await within(call.write(same))
        assert len(await drained(call)) == 6


async def test_a_message_changed_after_its_answer() -> None:
    """One message object for all writes is legal where each waits for the answer to the last."""
    async with call_through(as_they_are) as call:
        message = Text()
        for value in "012":
            message.value = value
            await within(call.write(message))
            assert await within(call.read()) == message.SerializeToString()
        assert await drained(call) == []


async def test_a_message_changed_by_an_interceptor() -> None:
    """An interceptor may change the messages that it hands on."""

    async def around(requests: Any) -> AsyncIterator[Any]:
        async for request in requests:
            request.value += "!"
            yield request

    async with call_through(around) as call:
        await within(call.write(Text(value="1")))
        assert await drained(call) == [Text(value="1!").SerializeToString()]


async def test_a_message_changed_after_the_end() -> None:
    """A message that an interceptor takes from the queue after the RPC is never sent."""
    gate = AsyncGate()
    left = asyncio.Event()

    async def around(requests: Any) -> AsyncIterator[Any]:
        await gate.park()
        async for request in requests:
            left.set()
            yield request

    async with call_through(around, leave) as call:
        message = Text(value="1")
        await within(call.write(message))
        assert await within(call.code()) is grpc.StatusCode.OK
        message.value = "2"
        gate.open()
        await within(left.wait())


async def test_a_message_changed_after_its_write_was_cancelled() -> None:
    """A message whose write() did not come through is the program's again."""
    gate = AsyncGate()
    async with call_through(held(gate)) as call:
        await within(call.write(Text(value="1")))
        message = Text(value="2")
        writing = asyncio.create_task(call.write(message))
        await within(gate.wait())
        await settle()  # the write has begun
        writing.cancel()
        (outcome,) = await outcomes(writing)
        assert isinstance(outcome, asyncio.CancelledError)
        message.value = "3"
        again = asyncio.create_task(call.write(message))
        await settle()
        gate.open()
        await within(again)
        sent = [Text.FromString(each).value for each in await drained(call)]
    # An older grpcio may send what was cancelled, too.
    assert sent == ["1", "3"] or (RELEASE < (1, 70) and sent == ["1", "3", "3"])


async def test_a_call_of_another_grpcio() -> None:
    """Where grpcio keeps what is written elsewhere, or in a queue of another kind, nothing is looked at."""
    async with call_through(as_they_are) as call:
        plain = call.__wrapped__
        plain._write_to_iterator_queue.__class__ = type("Other", (asyncio.Queue,), {})
        message = Text()
        for value in "01":
            message.value = value
            await call.write(message)
        assert len(await drained(call)) == 2


class Note:
    """A message of the program's own kind."""

    text = b""


async def test_a_message_that_nobody_knows() -> None:
    """Messages of other kinds are not looked into: their serializer may give other bytes each time."""
    gate = AsyncGate()
    serialized = []

    def serialize(message: Any) -> bytes:
        serialized.append(message)
        return bytes(message.text)

    async with call_through(held(gate), serializer=serialize) as call:
        message = Note()
        await within(call.write(message))
        await settle()
        message.text = b"2"
        gate.open()
        assert await drained(call) == [b"2"]
        with pytest.raises(asyncio.InvalidStateError):
            await within(call.write(message))
    assert len(serialized) == 1


@pytest.mark.parametrize(
    "message",
    [
        wrappers_pb2.DoubleValue(value=float("nan")),
        Struct(fields={}),
        {"nan": float("nan"), "values": [1, "two", b"three", None]},
        bytearray(b"1"),
        {1, 2},
    ],
)
def test_a_message_that_is_as_it_was(message: Any) -> None:
    """A message without changes is the same each time."""
    contents = contents_of(message)
    assert contents is not None
    assert not has_changed(message, contents)


class Odd(metaclass=Telling):
    """A message of a class with a hash of its own."""


@pytest.mark.parametrize("message", [b"1", "1", None, 1, (1,), [object()], Note(), Odd()])
def test_a_message_that_cannot_be_told(message: Any) -> None:
    """What cannot change, and what the guard does not know, is not compared."""
    Telling.calls.clear()
    assert contents_of(message) is None
    assert Telling.calls == []


def test_a_message_that_became_another_kind() -> None:
    """A container that the guard can no longer read is not compared."""
    message: list[Any] = [1]
    contents = contents_of(message)
    assert contents is not None
    message.append(object())
    assert not has_changed(message, contents)


def test_a_message_that_is_serialized_another_way() -> None:
    """Other bytes that say the same are no change."""
    message = wrappers_pb2.Int64Value(value=1)
    assert not has_changed(message, b"\x08\x02\x08\x01")  # the last value counts
    assert has_changed(message, b"\x08\x02")
