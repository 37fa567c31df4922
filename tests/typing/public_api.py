"""Typed code that uses every public name; `mypy --strict` accepts it as it is.

What must not pass has a "type: ignore", and mypy says where one is not needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import grpc_guard
from grpc_guard import (
    ChannelRecord,
    ChannelRegistry,
    ConcurrencyError,
    FanOut,
    Finding,
    Frame,
    Mode,
    Owner,
    Receiver,
    Rule,
    Sender,
    Status,
    StreamEnded,
    clear_findings,
    disable,
    enable,
    findings,
    guarded,
    is_enabled,
    snapshot,
    status,
    wrap,
)

if TYPE_CHECKING:
    from typing import assert_type
else:

    def assert_type(value: object, kind: object) -> None:
        """See typing.assert_type, of Python 3.11."""


class Channel:
    """Stands for a channel: grpc itself has no type hints."""

    def close(self) -> None: ...


def wrapping(channel: Channel) -> Channel:
    assert_type(wrap(channel), Channel)
    assert_type(wrap(channel, mode="warn"), Channel)
    assert_type(wrap(channel, mode=Mode.SERIALIZE), Channel)
    assert_type(wrap(channel, mode=None), Channel)
    wrap(channel).close()
    wrap(channel, mode=1)  # type: ignore[call-overload]
    wrap(channel, mode="rais")  # type: ignore[call-overload]
    wrap(channel, "warn")  # type: ignore[call-overload]
    wrap(channel).nonsense()  # type: ignore[attr-defined]
    return wrap(channel)


def looking() -> None:
    taken = snapshot()
    assert_type(taken, grpc_guard.inspection.Snapshot)
    for stream in taken.streams:
        assert_type(stream, grpc_guard.inspection.StreamSnapshot)
        if stream.read is not None:
            assert_type(stream.read.owner, Owner | None)
    taken.pid = 1  # type: ignore[misc]
    enable(inspect=True)
    enable(inspect="yes")  # type: ignore[arg-type]


class Server:
    """Stands for a server."""

    def wait_for_termination(self, timeout: float | None = None) -> bool:
        return True


def serving(server: Server) -> None:
    assert_type(wrap(server).snapshot(), tuple[Owner, ...])
    assert_type(wrap(server, mode="warn").snapshot(), tuple[Owner, ...])


class Stub:
    """Stands for generated code."""

    def __init__(self, channel: object) -> None: ...


def sharing() -> Stub:
    with ChannelRegistry(mode="warn", max_streams=None, idle_seconds=1.5) as registry:
        assert_type(registry, ChannelRegistry)
        with registry.get("a", options=[("name", 1)], interceptors=()) as lease:
            lease.close()
        assert_type(registry.stub(Stub, "a"), Stub)
        assert_type(registry.snapshot(), tuple[ChannelRecord, ...])
        assert_type([record.target for record in registry.snapshot()], list[str])
        registry.close(grace=1)
        registry.get(1)  # type: ignore[arg-type]
        registry.get("a", None, [])  # type: ignore[call-arg]
    return ChannelRegistry.default().stub(Stub, "a")


async def sharing_async() -> Stub:
    async with grpc_guard.aio.ChannelRegistry() as registry:
        async with registry.get("a") as lease:
            await lease.close(grace=0.5)
        await registry.close()
        assert_type(sum(record.rpcs for record in registry.snapshot()), int)
    return grpc_guard.aio.ChannelRegistry.default().stub(Stub, "a")


def switching() -> bool:
    enable()
    enable("warn")
    enable(Mode.WARN)
    enable(mode="serialize")
    enable(probe=True)
    enable("warn", probe="delay=0.02,seed=7")
    enable(probe=1)  # type: ignore[arg-type]
    enable(thresholds={"stream_limit": 50, "blocked_loop_seconds": 0.5})
    enable(thresholds={"stream_limit": "50"})  # type: ignore[dict-item]
    disable()
    enable(1)  # type: ignore[arg-type]
    enable("rais")  # type: ignore[arg-type]
    guarded("rais")  # type: ignore[arg-type]
    assert_type(is_enabled(), bool)
    return is_enabled()


def blocks() -> None:
    with guarded():
        pass
    with guarded("warn"), guarded(Mode.OFF), guarded(probe=False):
        pass
    guarded(1)  # type: ignore[arg-type]


@guarded()
def decorated(number: int) -> str:
    return str(number)


@guarded("warn", thresholds={"kept": 20})
async def decorated_coroutine(number: int) -> str:
    return str(number)


@guarded(Mode.RAISE)
def decorated_generator(number: int) -> Iterator[str]:
    yield str(number)


@guarded()
async def decorated_async_generator(number: int) -> AsyncIterator[str]:
    yield str(number)


async def decorating() -> None:
    assert_type(decorated(1), str)
    assert_type(await decorated_coroutine(1), str)
    assert_type(list(decorated_generator(1)), list[str])
    assert_type([item async for item in decorated_async_generator(1)], list[str])
    decorated("text")  # type: ignore[arg-type]


def reading(finding: Finding) -> None:
    assert_type(finding.rule, Rule)
    assert_type(finding.rule.name, str)
    assert_type(finding.rule.severity, str)
    assert_type(finding.severity, str)
    assert_type(finding.rpc, str)
    assert_type(finding.side, str)
    assert_type(finding.api, str)
    assert_type(finding.message, str)
    assert_type(finding.remedy, str)
    assert_type(finding.count, int)
    assert_type(finding.test, str | None)
    assert_type(finding.time, str)
    assert_type(finding.caller, Owner)
    assert_type(finding.owner, Owner | None)
    finding.count = 2  # type: ignore[misc]


def describing(owner: Owner) -> str:
    assert_type(owner.kind, str)
    assert_type(owner.name, str)
    assert_type(owner.operation, str)
    assert_type(owner.held_seconds, float | None)
    assert_type(owner.site, Frame | None)
    for frame in owner.stack:
        assert_type(frame.file, str)
        assert_type(frame.line, int)
        assert_type(frame.function, str)
        assert_type(frame.code, str)
    owner.name = "other"  # type: ignore[misc]
    return owner.name


def listing() -> tuple[Finding, ...]:
    assert_type(findings(), tuple[Finding, ...])
    clear_findings()
    return findings()


def asking(call: object) -> str | None:
    now = status(call)
    assert_type(now, Status)
    assert_type(now.read, Owner | None)
    assert_type(now.write, Owner | None)
    return now.read.name if now.read is not None else None


def catching() -> Finding | None:
    try:
        listing()
    except ConcurrencyError as error:
        assert_type(error.finding, Finding)
        return error.finding
    return None


def choosing(mode: Mode) -> str:
    assert_type(mode.value, str)
    return mode


assert_type(grpc_guard.__version__, str)


class Note:
    """Stands for a message."""


class Context:
    """Stands for the context of a handler."""


def on_one_stream(call: Iterator[Note], note: Note, context: Context) -> Iterator[Note]:
    with Sender[Note](maxsize=4, when_full="drop_oldest") as sender:
        assert_type(sender, Sender[Note])
        sender.send(note, timeout=0.5)
        sender.send(1)  # type: ignore[arg-type]
        sender.flush(1)
        assert_type(sender.unsent(), list[Note])
        statistics: Sender.Statistics = sender.statistics()
        assert_type(statistics.accepted, int)
    Sender[Note](context, when_full="drop")  # type: ignore[arg-type]
    with Receiver(call) as receiver:
        assert_type(receiver.receive(timeout=1), Note)
        assert_type(list(receiver), list[Note])
    fan = FanOut(call)
    with fan.subscribe(maxsize=1, when_full="fail") as subscriber:
        assert_type(subscriber, Receiver[Note])
    try:
        sender.send(note)
    except StreamEnded as end:
        assert_type(end.details, str | None)
        assert_type(end.left, int)
    return sender


async def on_one_stream_async(call: AsyncIterator[Note], note: Note) -> AsyncIterator[Note]:
    async with grpc_guard.aio.Sender[Note]() as sender:
        await sender.send(note, timeout=0.5)
        sender.send_from_thread(note)
        assert_type(sender.unsent(), list[Note])
    async with grpc_guard.aio.Receiver(call) as receiver:
        assert_type(await receiver.receive(1), Note)
        async for received in receiver:
            assert_type(received, Note)
    async with grpc_guard.aio.FanOut(call).subscribe() as subscriber:
        assert_type(await subscriber.receive(), Note)
    grpc_guard.aio.Receiver([note])  # type: ignore[arg-type]
    return sender
