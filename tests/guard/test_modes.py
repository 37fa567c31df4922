"""The modes: raise is the contract suite's; here are serialize, warn and off, and the ledger."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import queue
import re
from typing import Any

import grpc
import grpc.aio
import pytest
from support.stage import EOF, MESSAGES, ended
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    path,
    sync_channel,
    sync_server,
    within,
)
from support.subjects import BY_NAME, Kind, each_pair

import grpc_guard
from grpc_guard import ConcurrencyError, Mode, wrap

# serialize


async def in_line(reported: queue.Queue[Any], late: asyncio.Future[Any]) -> grpc_guard.Finding:
    """Wait until the party of `late` stands in line; return what was reported about it."""
    finding = await within(asyncio.to_thread(reported.get, timeout=PATIENCE))
    assert not late.done()
    return finding


@pytest.mark.parametrize(("kind", "inside", "arriving"), each_pair())
async def test_serialize(kind: Kind, inside: str, arriving: str, found, reported):
    """The one that arrives waits for its turn; both get what they came for, in order."""
    async with kind.open("serialize") as subject:
        owner = await subject.begin(inside)
        late = await subject.start(arriving)
        finding = await within(asyncio.to_thread(reported.get, timeout=PATIENCE))
        subject.release()
        messages = await within(owner)
        if inside == "done_writing":  # a half-closed stream takes no more messages
            assert isinstance(await ended(late), asyncio.InvalidStateError)
        else:
            messages += await within(late)
        messages += await subject.rest()
        assert messages == await subject.carried()
    assert found() == [finding]
    assert finding.message.startswith(f"{kind.rule}: {arriving.lstrip('.')} by ")
    assert ") made to wait: " in finding.message
    assert finding.owner.operation == inside.lstrip(".")


READERS = [
    "sync client unary_stream",
    "sync client stream_stream",
    "sync server stream_unary",
    "aio client unary_stream read",
    "aio client unary_stream iterate",
    "aio server stream_unary",
]


@pytest.mark.parametrize("name", READERS)
async def test_serialize_first_come_first_served(name, found, reported):
    """Those who wait get their turns in the order in which they came."""
    kind = BY_NAME[name]
    operation = kind.operations[0]
    async with kind.open("serialize") as subject:
        line = [await subject.begin(operation)]
        for number in range(3):
            line.append(await subject.start(operation, f"caller-{number}"))
            await in_line(reported, line[-1])
        subject.release()
        assert [await within(party) for party in line] == [[message] for message in MESSAGES[:4]]
        assert await subject.rest() == MESSAGES[4:]
    [finding] = found()
    assert finding.count == 3


AIO_READERS = [name for name in READERS if name.startswith("aio")]


@pytest.mark.parametrize("name", AIO_READERS)
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_serialize_cancelled_in_line(name, which, found, reported):
    """A waiting task can be cancelled; the others get their turns, and no message is lost."""
    kind = BY_NAME[name]
    operation = kind.operations[0]
    async with kind.open("serialize") as subject:
        line = [await subject.begin(operation)]
        for number in range(3):
            line.append(await subject.start(operation, f"caller-{number}"))
            await in_line(reported, line[-1])
        gone = line.pop(1 + which)
        gone.cancel()
        assert isinstance(await ended(gone), asyncio.CancelledError)
        subject.release()
        assert [await within(party) for party in line] == [[message] for message in MESSAGES[:3]]
        assert await subject.rest() == MESSAGES[3:]
    assert len(found()) == 1


@pytest.mark.parametrize("name", AIO_READERS)
async def test_serialize_cancelled_when_its_turn_has_come(name, found, reported):
    """A wake-up is not lost with the one it woke: the next in line gets it."""
    kind = BY_NAME[name]
    operation = kind.operations[0]
    async with kind.open("serialize") as subject:
        first = await subject.begin(operation)

        async def leave_and_cancel() -> Any:
            message = await subject.operations[operation]()
            head.cancel()  # it was woken a moment ago, and has not run since
            return message

        second = asyncio.create_task(leave_and_cancel(), name="second")
        await in_line(reported, second)
        head = await subject.start(operation, "head")
        await in_line(reported, head)
        last = await subject.start(operation, "last")
        await in_line(reported, last)
        subject.release()
        messages = await within(first) + await within(second)
        assert isinstance(await ended(head), asyncio.CancelledError)
        messages += await within(last)
        assert messages == MESSAGES[:3]
        assert await subject.rest() == MESSAGES[3:]
    assert found() != []


@pytest.mark.parametrize("name", READERS)
async def test_serialize_when_the_rpc_fails(name, found, reported):
    """A party that waits on an RPC that fails gets grpcio's error, and does not wait for ever."""
    kind = BY_NAME[name]
    operation = kind.operations[0]
    async with kind.open("serialize") as subject:
        owner = await subject.begin(operation)
        late = await subject.start(operation)
        await in_line(reported, late)
        subject.lose()
        for party in (owner, late):
            assert not isinstance(await ended(party), ConcurrencyError)
    assert len(found()) == 1


@pytest.mark.parametrize("name", READERS)
async def test_serialize_without_a_crowd(name, found):
    """A party alone in its direction does not wait, and nothing is found."""
    kind = BY_NAME[name]
    async with kind.open("serialize") as subject:
        subject.release()
        messages = []
        for number in range(3):
            messages += await subject.do(kind.operations[0], f"party-{number}")
        assert messages + await subject.rest() == MESSAGES
    assert found() == []


def numbers() -> Any:
    yield from MESSAGES


def collecting(gate: Gate) -> Any:
    def record(requests: Any, context: Any) -> bytes:
        gate.park()
        return b"".join(requests)

    return {"Record": grpc.stream_unary_rpc_method_handler(record)}


def test_serialize_of_what_no_waiting_heals_generator(found):
    """A generator of two live RPCs is refused: the first RPC may never end."""
    gate, requests = Gate(), numbers()
    with (
        sync_server(collecting(gate), mode=None) as address,
        sync_channel(address, mode="serialize") as channel,
    ):
        record = channel.stream_unary(path("Record"))
        call = record.future(requests)
        with gate.held(), pytest.raises(ConcurrencyError, match="shared-iterator: .* refused: "):
            record(requests)
        assert call.result() == b"".join(MESSAGES)
    assert len(found()) == 1


def test_serialize_of_what_no_waiting_heals_handler(found):
    """An object of a handler that has ended is refused: the handler will not come back."""
    leaked: list[Any] = []

    def record(requests: Any, context: Any) -> bytes:
        leaked.append(requests)
        return b""

    methods = {"Record": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods, mode="serialize") as address, sync_channel(address) as channel:
        channel.stream_unary(path("Record"))(iter(()))
        with pytest.raises(ConcurrencyError, match="handler-returned: .* refused: "):
            next(leaked[0])
    assert len(found()) == 1


async def test_serialize_of_what_no_waiting_heals_loop(found):
    """A call on a foreign loop is refused: it will never be at home there."""
    with sync_server(collecting(Gate()), mode=None) as address:
        async with aio_channel(address, mode="serialize") as channel:
            start = channel.stream_unary(path("Record"))
            stray = in_thread(start, iter(()), name="stray").as_future()
            with pytest.raises(ConcurrencyError, match="wrong-loop: .* refused: "):
                await within(stray)
    assert len(found()) == 1


# warn


@pytest.fixture
def logged(caplog):
    """The records that the guard logs."""
    caplog.set_level(logging.DEBUG, "grpc_guard")
    return lambda: [record for record in caplog.records if record.name == "grpc_guard"]


async def let_through(kind: Kind, subject: Any, reported: Any) -> Any:
    """Let a party in beside another one, and return both."""
    operation = kind.operations[0]
    owner = await subject.begin(operation)
    late = await subject.start(operation)
    finding = await within(asyncio.to_thread(reported.get, timeout=PATIENCE))
    assert finding.rule == kind.rule
    assert ") let through: " in finding.message
    return owner, late


def assert_logged(logged: Any, found: Any) -> None:
    [record] = logged()
    [finding] = found()
    assert record.levelno == logging.WARNING
    assert record.getMessage().partition("\n")[0] == finding.message


@pytest.mark.parametrize("name", ["sync client unary_stream", "sync client stream_stream"])
async def test_warn_sync_client_next(name, found, reported, logged):
    """next() beside next() is let through, and gets the error that grpcio has for it."""
    async with BY_NAME[name].open("warn") as subject:
        owner, late = await let_through(BY_NAME[name], subject, reported)
        error = await ended(late)
        assert isinstance(error, ValueError)
        assert "Internal gRPC call error 8" in str(error)
        subject.release()
        assert await within(owner) + await subject.rest() == MESSAGES
    assert_logged(logged, found)


@pytest.mark.parametrize(
    "name",
    ["aio client unary_stream read", "aio client stream_stream duplex", "aio server stream_unary"],
)
async def test_warn_aio_read(name, found, reported, logged):
    """read() beside read() is let through; it hangs, or is told a false end of the stream."""
    async with BY_NAME[name].open("warn") as subject:
        owner, late = await let_through(BY_NAME[name], subject, reported)
        assert not late.done() or late.result() == [EOF]
        owner.cancel()
        late.cancel()
        await asyncio.wait([owner, late], timeout=PATIENCE)
    assert_logged(logged, found)


async def test_warn_aio_iteration(found, reported, logged):
    """__anext__() beside __anext__() is let through, and gets Python's own error."""
    kind = BY_NAME["aio client unary_stream iterate"]
    async with kind.open("warn") as subject:
        owner, late = await let_through(kind, subject, reported)
        error = await ended(late)
        assert type(error) is RuntimeError
        assert "already running" in str(error)
        subject.release()
        assert await within(owner) + await subject.rest() == MESSAGES
    assert_logged(logged, found)


@pytest.mark.parametrize(
    "name", ["aio client stream_unary write", "aio client stream_stream write"]
)
async def test_warn_aio_client_write(name, found, reported, logged):
    """write() beside write() is let through, and the RPC dies of it."""
    async with BY_NAME[name].open("warn") as subject:
        _, late = await let_through(BY_NAME[name], subject, reported)
        error = await ended(late)
        assert isinstance(error, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == "Internal error from Core"
    assert_logged(logged, found)


@pytest.mark.parametrize("name", ["aio server unary_stream write", "aio server unary_stream yield"])
async def test_warn_aio_server_write(name, found, reported, logged):
    """context.write() beside another is let through, and fails in grpcio."""
    async with BY_NAME[name].open("warn") as subject:
        _, late = await let_through(BY_NAME[name], subject, reported)
        assert type(await ended(late)).__name__ == "ExecuteBatchError"
        subject.lose()
    assert_logged(logged, found)


async def test_warn_aio_yield(found, reported, logged):
    """A message that is yielded during a context.write() is let through, and the RPC dies of it."""
    kind = BY_NAME["aio server stream_stream yield"]
    async with kind.open("warn") as subject:
        await subject.begin("context.write")
        late = await subject.start("yield")
        await within(asyncio.to_thread(reported.get, timeout=PATIENCE))
        assert not isinstance(await ended(late), ConcurrencyError)
        subject.release()
    assert_logged(logged, found)


def test_warn_shared_generator(found, logged):
    """A generator of two live RPCs is let through: both draw on it."""
    gate, requests = Gate(), numbers()
    with (
        sync_server(collecting(gate), mode=None) as address,
        sync_channel(address, mode="warn") as channel,
    ):
        record = channel.stream_unary(path("Record"))
        calls = [record.future(requests)]
        gate.wait()
        calls.append(record.future(requests))
        assert all(call.is_active() for call in calls)
        gate.open()
        assert all(isinstance(call.code(), grpc.StatusCode) for call in calls)
    assert_logged(logged, found)


def test_warn_after_the_handler(found, logged):
    """A use after the handler is let through: a silent end of stream."""
    leaked: list[Any] = []

    def record(requests: Any, context: Any) -> bytes:
        leaked.append(requests)
        return b""

    methods = {"Record": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods, mode="warn") as address, sync_channel(address) as channel:
        channel.stream_unary(path("Record"))(iter(()))
        assert list(leaked[0]) == []
    assert_logged(logged, found)


async def test_warn_foreign_loop(found, logged):
    """A start by a foreign thread is let through."""
    with sync_server(collecting(Gate()), mode=None) as address:
        async with aio_channel(address, mode="warn") as channel:
            start = channel.stream_unary(path("Record"))
            stray = in_thread(start, [], name="stray").as_future()
            assert not isinstance(await ended(stray), ConcurrencyError)
    assert_logged(logged, found)


def test_log_of_equal_findings(found, caplog):
    """The first of equal findings is logged, and then every tenfold."""
    caplog.set_level(logging.DEBUG, "grpc_guard")
    leaked: list[Any] = []

    def record(requests: Any, context: Any) -> bytes:
        leaked.append(requests)
        return b""

    methods = {"Record": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods, mode="warn") as address, sync_channel(address) as channel:
        channel.stream_unary(path("Record"))(iter(()))
        lines = []
        for _ in range(120):
            assert next(leaked[0], None) is None
            lines.append(len([r for r in caplog.records if r.name == "grpc_guard"]))
    assert [lines.index(number) + 1 for number in (1, 2, 3)] == [1, 10, 100]
    assert lines[-1] == 3
    [finding] = found()
    assert finding.count == 120


# off, and what wrap() takes


def plain_objects(address: str) -> Any:
    channel = grpc.insecure_channel(address)
    return channel, channel.stream_stream(path("Chat"))(iter(()))


def echo(requests: Any, context: Any) -> Any:
    yield from requests


CHAT = {"Chat": grpc.stream_stream_rpc_method_handler(echo)}


def test_off_sync(found):
    """Mode off wraps nothing: wrap(x) is x."""
    server = grpc.server(None)
    assert wrap(server, mode="off") is server
    with sync_server(CHAT, mode=None) as address, grpc.insecure_channel(address) as channel:
        assert wrap(channel, mode="off") is channel
        call = channel.stream_stream(path("Chat"))(iter(MESSAGES))
        assert wrap(call, mode=Mode.OFF) is call
        assert list(call) == MESSAGES


async def test_off_aio(found):
    """Mode off wraps nothing: wrap(x) is x."""
    seen = []

    async def chat(requests: Any, context: Any) -> None:
        seen.append(wrap(context, mode="off") is context)

    async with aio_server(
        {"Chat": grpc.stream_stream_rpc_method_handler(chat)}, mode="off"
    ) as address:
        async with grpc.aio.insecure_channel(address) as channel:
            assert wrap(channel, mode="off") is channel
            call = channel.stream_stream(path("Chat"))()
            assert wrap(call, mode="off") is call
            assert await within(call.read()) is EOF
    server = grpc.aio.server()
    assert wrap(server, mode="off") is server
    assert seen == [True]


def test_wrap_twice(found):
    """A guarded object is its own guarded twin, and two wraps of one call are one guard."""
    with sync_server(CHAT, mode=None) as address, grpc.insecure_channel(address) as channel:
        guarded = wrap(channel)
        assert wrap(guarded) is guarded
        assert wrap(guarded, mode="off") is guarded
        call = channel.stream_stream(path("Chat"))(iter(MESSAGES))
        twin = wrap(call)
        assert wrap(call) is twin
        assert wrap(twin) is twin
        assert list(twin) == MESSAGES


@pytest.mark.parametrize("thing", [42, None, "channel", [1], print, grpc.StatusCode.OK])
def test_wrap_of_something_else(thing):
    """wrap() says what it takes, and what it got."""
    with pytest.raises(TypeError) as error:
        wrap(thing)
    assert str(error.value) == (
        "wrap() takes a channel, a server, a call or a servicer context of grpc or grpc.aio, "
        f"not {type(thing).__name__}: {thing!r}"
    )


@pytest.mark.parametrize("mode", ["on", "", "ON", 1])
def test_wrap_with_an_unknown_mode(mode):
    """An unknown mode is an error that names the choices."""
    with pytest.raises(ValueError, match="is not a mode") as error:
        wrap(grpc.server(None), mode=mode)
    assert str(error.value) == (
        f"wrap(mode): {mode!r} is not a mode; use off, raise, warn or serialize"
    )


def test_status_of_something_else():
    """status() takes guarded objects only."""
    with pytest.raises(TypeError, match="status.. takes a guarded call or context, not int"):
        grpc_guard.status(42)


# The ledger


async def test_equal_findings_are_counted(found):
    """The same two call sites on the same RPC are one finding, however often they meet."""
    kind = BY_NAME["aio client unary_stream read"]
    async with kind.open("raise") as subject:
        await subject.begin("read")
        for _ in range(3):
            with pytest.raises(ConcurrencyError):
                await subject.do("read")
        with pytest.raises(ConcurrencyError):
            await subject.guarded.read()  # another call site
    first, second = found()
    assert (first.count, second.count) == (3, 1)
    assert first.message.partition(": ")[2].startswith("read by task 'caller'")
    assert second.message.partition(": ")[2].startswith("read by task 'test'")


async def test_findings_are_frozen_and_dated(found):
    """A finding is an immutable record, and has a time."""
    kind = BY_NAME["aio client unary_stream read"]
    async with kind.open("raise") as subject:
        await subject.begin("read")
        with pytest.raises(ConcurrencyError) as refusal:
            await subject.do("read")
    [finding] = found()
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.count = 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", finding.time)
    assert finding.severity == "error"
    assert finding.remedy == finding.rule.remedy
    assert not isinstance(refusal.value, grpc.RpcError)
    assert isinstance(refusal.value, RuntimeError)
    assert found() == []
