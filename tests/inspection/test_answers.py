"""The answer to who asks: byte for byte the message of a snapshot, with most records left out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import (
    AioDirection,
    Api,
    Mode,
    Side,
    Stream,
    Way,
    core_which,
    encoding,
    endpoints,
    inspect_lines,
    inspect_living,
    inspect_messages,
    inspect_servers,
    inspect_telling,
    inspection_pb2,
    noting,
    sight,
    snapshots,
    steps,
)
from support.snapshots import HERE, OWNER
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import snapshot
from grpc_guard.inspection import HandlerSnapshot

compiled: Any = core_which.compiled()
needs_compiled = pytest.mark.skipif(compiled is None, reason="needs the compiled core")
HANDLERS = inspection_pb2.ServerSnapshot.DESCRIPTOR.fields_by_name["handlers"]


def message(data: bytes) -> Any:
    return inspection_pb2.Reply.FromString(data).snapshot


@pytest.fixture
def at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes, and no other thread runs while a look is told."""
    for module in (sight, snapshots, inspect_servers, inspect_telling):
        monkeypatch.setattr(module, "monotonic", lambda: 1e9)
    monkeypatch.setattr(snapshots, "now", lambda: "now")
    monkeypatch.setattr("grpc_guard._inspect.native._NAP", 0.0)


def both_ways() -> tuple[bytes, bytes]:
    """Return the message of one look by way of records, and as an answer has it."""
    handled = inspect_living.Handled()
    listed = inspect_living.streams_listed(handled)
    look = sight.Sight(inspect_living.loops_of(listed), handled)
    try:
        streams = look.streams_among(listed)
        told = snapshots._told(list(streams), look, None)
        with contextlib.closing(inspect_messages.Answer()) as parts:
            few = snapshots._told(list(streams), look, parts)
            return inspect_messages.reply_with(told), inspect_messages.reply_with(few, parts)
    finally:
        look.forget_frames()


@needs_compiled
async def test_as_a_snapshot(at_one_moment: None) -> None:
    """A process with something of everything in it: each party stands still."""
    gate, read = Gate(), asyncio.Event()
    inside: list[Any] = []

    async def echo(requests: Any, context: Any) -> None:
        async for request in requests:
            inside.append(context)
            await context.write(request)
        await context.read()

    async def yields(requests: Any, context: Any) -> Any:
        async for request in requests:
            yield request

    def parked(requests: Any, context: Any) -> Any:
        yield from requests
        gate.park()

    async def waits(call: Any) -> None:
        await call.write(b"0")
        await call.read()
        read.set()
        await call.read()

    async def joins(task: Any) -> None:
        await task

    aio = {
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Yields": grpc.stream_stream_rpc_method_handler(yields),
    }
    sync = {"Parked": grpc.stream_stream_rpc_method_handler(parked)}
    async with aio_server(aio) as address, aio_channel(address) as channel:
        with sync_server(sync) as other, sync_channel(other) as plain:
            calls = [channel.stream_stream(path(name))() for name in ("Echo", "Yields") * 12]
            tasks = []
            for call in calls:
                read.clear()
                tasks.append(asyncio.create_task(waits(call)))
                await within(read.wait())
            tasks.append(asyncio.create_task(joins(tasks[0])))
            call = plain.stream_stream(path("Parked"))(iter([b"0"]))
            assert await asyncio.to_thread(next, call) == b"0"
            await asyncio.to_thread(gate.wait)
            await asyncio.sleep(0)
            for _ in range(3):  # the last one remembers
                records, answer = both_ways()
                assert answer == records
            gate.open()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=PATIENCE)
            call.cancel()
    told = message(answer)
    assert {one.kind for one in told.deductions} >= {"joined"}
    assert len([one for one in told.streams if one.rpc == path("Echo")]) == 24
    assert sum(len(one.handlers) for one in told.servers) == 25
    assert {one.streams for one in told.channels} >= {24, 1}


@needs_compiled
def test_memory_of_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used again by an answer that follows soon, and by one at a time."""
    monkeypatch.setattr(inspect_messages, "_spare", [])
    monkeypatch.setattr(inspect_messages, "_closed", [float("-inf")])
    now = 100.0
    monkeypatch.setattr(inspect_messages, "monotonic", lambda: now)
    first = snapshots.Reply()
    first.close()  # one alone leaves nothing
    assert inspect_messages._spare == []
    second = snapshots.Reply()
    scratch = second._answer.streams
    second.close()
    third, beside = snapshots.Reply(), snapshots.Reply()
    assert third._answer.streams is scratch is not beside._answer.streams
    with memoryview(beside._answer.streams):
        third.close()
        beside.close()  # somebody looks at it
    assert snapshots.Reply()._answer.streams is scratch
    now += 11.0
    fourth = snapshots.Reply()
    fourth.close()
    assert inspect_messages._spare == []

    def fail(answer: Any) -> Any:
        raise KeyError

    monkeypatch.setattr(snapshots, "_look", fail)
    with pytest.raises(KeyError):
        snapshots.Reply()
    assert len(inspect_messages._spare) == 1


def test_text_that_utf_8_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer has it as a snapshot has."""
    monkeypatch.setattr(snapshots, "program", lambda: "/app\udcff")
    assert message(endpoints.reply()).program == "/app\\udcff"
    assert snapshot().program == "/app\udcff"


class Handling:
    """A task that handles an RPC."""

    def __init__(self, name: str, loop: object) -> None:
        self.name, self.loop = name, loop

    def get_name(self) -> str:
        return self.name

    def get_loop(self) -> object:
        return self.loop


def stream(direction: Any = None) -> Stream:
    found = Stream("/a.B/C", Side.SERVER, Api.AIO, Mode.RAISE)
    if direction is not None:
        found.write = direction
    return found


def table(handled: dict[int, Any]) -> Any:
    """Return this as the compiled core has it."""
    found = compiled.handled(compiled.InFlight(0))
    for key, both in handled.items():
        found.put(key, *both)
    return found


def look_at(tasks: list[Any], streams: list[Any], loop: object) -> Any:
    """Return what looks at the handlers in these tasks, of a loop, with these streams or None."""
    look: Any = inspect_servers._Look.__new__(inspect_servers._Look)
    stacks: list[Any] = [(HERE,) * (number % 3) for number in range(len(tasks))]
    rpc_tasks = [([task], stack) for task, stack in zip(tasks, stacks, strict=True)]
    lines, crowd = inspect_lines.Lines(), noting.new_crowd()
    look._sight = SimpleNamespace(
        rpc_tasks=rpc_tasks, lines=lines, crowd=crowd, loops=(), running={}
    )
    noted = enumerate(zip(tasks, streams, strict=True))
    look._streams = table(
        {id(task): (one, 0.5 * at) for at, (task, one) in noted if one is not None}
    )
    look._known, look._migrated, look._loop, look._is_alone = {}, [], loop, True
    look._present = inspect_servers.monotonic()
    return look


@needs_compiled
def test_handlers_as_records(at_one_moment: None) -> None:
    """Whatever is noted of them, and however they are named."""
    loop, others = object(), object()
    named = "HandleExceptions[/a.B/C]"
    write = AioDirection(stream(), Way.WRITE)
    lent = (number for number in range(3))
    next(lent)
    responses = steps.Responses(stream(), lent)
    kinds: list[tuple[str, object, Any]] = [
        (named, loop, stream()),
        (named, loop, stream(write)),
        (named, loop, stream(responses)),  # it is looked at where the generator stands
        (named, loop, None),
        (named, loop, "/a.B/C"),  # unary
        ("HandleExceptions[/a.B/D]", loop, stream()),  # another RPC
        ("HandleExceptions[/a.B/D]", loop, "/a.B/C"),
        ("", loop, stream()),
        ("", loop, "/a.B/C"),
        ("", loop, None),
        (named, others, stream()),
    ] * 6
    tasks = [Handling(name, of) for name, of, _ in kinds]
    look = look_at(tasks, [one for _, _, one in kinds], loop)
    records = sorted(look.described(), key=inspect_servers._held, reverse=True)
    look._known.clear()
    answer = inspect_messages.Answer()
    look.answered(answer)
    data = b"".join(answer.handlers_of(0))
    assert data == encoding.Encoder("strict").joined(HANDLERS, records)
    assert len(records) == 60
    held = [one for one in records if one.handler.held_seconds is not None]
    assert len(held) == 36
    things = *tasks, *(one for _, _, one in kinds), loop, write, HERE
    before = list(map(sys.getrefcount, things))
    for _ in range(50):
        look.answered(inspect_messages.Answer())
    after = map(sys.getrefcount, things)
    assert max(now - then for now, then in zip(after, before, strict=True)) < 50


@needs_compiled
def test_handlers_as_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a look takes, all have been running until the same moment: who came first is first."""
    moments = itertools.count(100.0)
    monkeypatch.setattr(inspect_servers, "monotonic", lambda: next(moments))
    loop = object()
    tasks = [Handling("HandleExceptions[/a.B/C]", loop) for _ in range(3)]
    look = look_at(tasks, [stream() for _ in tasks], loop)
    records = list(look.described())
    assert list(map(inspect_servers._held, records)) == [100.0, 99.5, 99.0]
    answer = inspect_messages.Answer()
    look.answered(answer)
    data = b"".join(answer.handlers_of(0))
    assert data == encoding.Encoder("strict").joined(HANDLERS, records)


def broken(*_: object) -> Any:
    raise ArithmeticError


@needs_compiled
def test_handlers_that_cannot_be_described() -> None:
    """What went wrong is told."""
    loop = object()
    of = encoding.encoding_of(HandlerSnapshot, HANDLERS.message_type)
    task = Handling("a", loop)
    served = stream()
    handled = table({id(task): (served, 0.5)})
    scratch = compiled.Scratch()
    usual: Any = (
        *(loop, handled, AioDirection, {}),
        *(lambda _: ("/a.B/C", "a"), broken, "none", 1.0, None, noting.new_crowd()),
    )

    def answer(at: int = 0, other: Any = loop, tasks: Any = None) -> Any:
        known = (*usual[:at], other, *usual[at + 1 :])
        usual[3].clear()
        scratch.clear()
        tasks = [task] if tasks is None else tasks
        compiled.answer_handlers(known, of, b"\x0a", tasks, 0, 9, (), scratch)
        in_order = compiled.Scratch()
        compiled.handlers_in_order(scratch, in_order)
        return bytes(in_order)

    once = answer()
    assert b"/a.B/C" in once
    assert answer(tasks=[task, task]) == once * 2
    assert answer(tasks=[]) == b""
    strange = Stream.__new__(Stream)
    with memoryview(scratch), pytest.raises(BufferError):
        compiled.answer_handlers(usual, of, b"\x0a", [task], 0, 1, (), scratch)
    for wrong_scratch in (1, b""):
        for both in ((scratch, wrong_scratch), (wrong_scratch, scratch)):
            with pytest.raises(TypeError):
                compiled.handlers_in_order(*both)
    with pytest.raises(ValueError, match="another one"):
        compiled.handlers_in_order(scratch, scratch)
    no_name: Any = SimpleNamespace(get_loop=lambda: loop, get_name=broken)
    for at, other, error in (
        (1, table({id(task): (strange, 0.5)}), ArithmeticError),
        (1, {}, TypeError),
        (1, [], TypeError),
        (8, 1, TypeError),
        (9, 1, TypeError),
        (4, broken, ArithmeticError),
        (4, lambda _: 1, TypeError),
        (4, lambda _: (None, "a"), ArithmeticError),
        (4, lambda _: (1, "a"), TypeError),
    ):
        with pytest.raises(error):
            answer(at, other)
    assert b"/a.B/C" in answer(tasks=[no_name])
    for tasks in ([1], [SimpleNamespace(get_loop=broken)], 1):
        with pytest.raises((TypeError, ArithmeticError, AttributeError)):
            answer(tasks=tasks)
    wrong = (*usual[:4], lambda _: (None, "a"), lambda *_: 1, *usual[6:])
    unlike = (*usual[:4], lambda _: (None, "a"), lambda *_: (1.0, OWNER), *usual[6:])
    for known in (wrong, unlike):
        usual[3].clear()
        with pytest.raises(TypeError):
            compiled.answer_handlers(known, of, b"\x0a", [task], 0, 1, (), scratch)
    owners = encoding.encoding_of(type(OWNER), inspection_pb2.Party.DESCRIPTOR)
    with pytest.raises(TypeError, match="takes the encoding"):
        compiled.answer_handlers(usual, owners, b"\x0a", [], 0, 1, (), scratch)
    with pytest.raises(ValueError, match="a tag is"):
        compiled.answer_handlers(usual, of, b"123456789", [], 0, 1, (), scratch)
    with pytest.raises(ValueError, match="no such"):
        compiled.answer_handlers(usual, of, b"\x0a", [], -1, 1, (), scratch)
    with pytest.raises(TypeError):
        compiled.answer_handlers()
