"""Which streams live: all of them are found, in work that is shared, while others go on."""

from __future__ import annotations

import asyncio
import collections
import dis
import gc
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import (
    ONLOOKERS,
    OPERATIONS,
    AioDirection,
    Api,
    Mode,
    Side,
    Stream,
    SyncFields,
    Way,
    aio_handlers,
    core_advances,
    core_operations,
    guard_roles,
    inspect_lines,
    inspect_living,
    inspect_telling,
    items_of,
    loops_door,
    native,
    remembered,
    sight,
)
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
    wait,
    within,
)

from grpc_guard import Owner, snapshot, status, wrap
from grpc_guard.inspection import DirectionSnapshot, Snapshot, StreamSnapshot

US, SS = grpc.unary_stream_rpc_method_handler, grpc.stream_stream_rpc_method_handler


def streams(taken: Snapshot, method: str) -> list[StreamSnapshot]:
    return [one for one in taken.streams if one.rpc == path(method)]


def unlisted(method: str) -> list[Stream]:
    """Return the streams of an RPC that exist and are not found."""
    gc.collect()
    found = {id(stream) for stream in inspect_living.streams_listed(inspect_living.Handled())}
    return [
        one
        for one in gc.get_objects()
        if type(one) is Stream and one.rpc == path(method) and id(one) not in found
    ]


def owned(direction: DirectionSnapshot | None) -> bool:
    return direction is not None and direction.owner is not None


def test_sync_streams() -> None:
    """Both sides of a stream are found, and a call that was wrapped by hand."""
    gate = Gate()

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        yield b"0"
        gate.park()

    with sync_server({"Kinds": US(handler)}) as address:
        with sync_channel(address) as channel, sync_channel(address, mode=None) as plain:
            calls = [
                channel.unary_stream(path("Kinds"))(b""),
                wrap(plain.unary_stream(path("Kinds"))(b"")),
            ]
            for call in calls:
                assert next(call) == b"0"
            with gate.held():
                taken = streams(snapshot(), "Kinds")
                assert unlisted("Kinds") == []
            for call in calls:
                assert list(call) == []
    assert sorted(one.side for one in taken) == ["client", "client", "server", "server"]
    assert [one.read is None for one in taken if one.side == "client"] == [False, False]


def test_a_channel_that_interceptors_hide() -> None:
    """The streams of a channel that the guard cannot see are found all the same."""

    class Nothing(grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
        def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
            def around() -> Any:
                yield from continuation(details, request)

            return around()

    gate = Gate()

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        yield b"0"
        gate.park()

    with sync_server({"Hidden": US(handler)}) as address:
        with sync_channel(address, mode=None) as plain:
            guarded: Any = wrap(grpc.intercept_channel(plain, Nothing()))
            call = guarded.unary_stream(path("Hidden"))(b"")
            assert next(call) == b"0"
            with gate.held():
                found = [one.side for one in streams(snapshot(), "Hidden")]
                assert unlisted("Hidden") == []
            assert list(call) == []
    assert "client" in found


async def test_aio_streams() -> None:
    """So are those of tasks, and one whose channel is closed with a time of grace."""
    opened = asyncio.Event()

    async def handler(request: Any, context: Any) -> None:
        await context.write(b"0")
        await opened.wait()

    async with aio_server({"Tasks": US(handler)}) as address, aio_channel(address) as channel:
        call = channel.unary_stream(path("Tasks"))(b"")
        assert await call.read() == b"0"
        closing = asyncio.create_task(channel.close(grace=60.0))
        await settle()
        taken = streams(snapshot(), "Tasks")
        assert unlisted("Tasks") == []
        opened.set()
        await call.read()
        await within(closing)
    assert sorted(one.side for one in taken) == ["client", "server"]


async def test_a_sync_handler_of_an_aio_server() -> None:
    """It is found from the start, before a thread of the pool has taken its first step."""
    gate = Gate()

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        seen.extend(unlisted("Pool"))
        gate.park()
        yield b"0"

    seen: list[Stream] = []
    async with aio_server({"Pool": US(handler)}) as address, aio_channel(address) as channel:
        call = channel.unary_stream(path("Pool"))(b"")
        await within(in_thread(gate.wait).as_future())
        found = streams(snapshot(), "Pool")
        gate.open()
        assert await call.read() == b"0"
    assert sorted(one.side for one in found) == ["client", "server"]
    assert seen == []


async def test_the_work_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks and threads are looked at once, however many streams there are."""
    looked: collections.Counter[str] = collections.Counter()

    def counted(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def count(*args: Any) -> Any:
            looked[name] += len(args[0]) if name == "groups" else 1
            result = plain(*args)
            if name == "tables_of_tasks":
                kept = [one for table in result for one in table]
                looked["tasks"] += len(loops_door.tasks_among(kept, args[0]))
            return result

        monkeypatch.setattr(owner, name, count)

    counted(remembered, "tables_of_tasks")
    counted(sight, "frames_of_threads")
    counted(sight, "groups")
    monkeypatch.setattr(remembered, "_SECONDS", 0.0)  # nothing is known from a look before
    counted(inspect_lines, "copy_frame")

    reading: list[Any] = []  # what has a direction, from its second read on

    async def handler(requests: Any, context: Any) -> None:
        async for _ in requests:
            await context.write(b"0")
            reading.append(context)

    async def converse(call: Any) -> None:
        await call.write(b"a")
        while await call.read() == b"0":
            reading.append(call)

    async def until_inside(number: int) -> None:
        while len(reading) < number or not all(one._self_read.taken for one in reading):
            await settle()

    async with aio_server({"Shared": SS(handler)}) as address, aio_channel(address) as channel:
        parties: list[asyncio.Task[None]] = []
        for number in (4, 12):
            calls = [channel.stream_stream(path("Shared"))() for _ in range(number)]
            parties += [asyncio.create_task(converse(call)) for call in calls]
            await within(until_inside(2 * len(parties)))
            looked.clear()
            taken = streams(snapshot(), "Shared")
            assert [owned(one.read) for one in taken] == [True] * 2 * len(parties)
            assert (looked["tables_of_tasks"], looked["frames_of_threads"]) == (1, 1)
            assert looked["groups"] == looked["tasks"]
        assert looked["copy_frame"] < len(parties)  # each line once, not once for each of them
        for party in parties:
            party.cancel()
        await asyncio.wait(parties)


@pytest.mark.parametrize("size", [native._SLICE, 1])
def test_a_look_at_a_loop_that_goes_on(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that begin and end meanwhile, on another thread, neither fail it nor tear it."""
    monkeypatch.setattr(native, "_SLICE", size)  # after one item each the others run
    begun, enough = threading.Event(), threading.Event()

    async def handler(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request)

    async def converse(channel: Any) -> None:
        while not enough.is_set():
            call = channel.stream_stream(path("Busy"))()
            for _ in range(3):
                await call.write(b"a")
                assert await call.read() == b"a"
            begun.set()
            await call.done_writing()
            await call.read()

    async def main() -> None:
        async with aio_server({"Busy": SS(handler)}) as address, aio_channel(address) as channel:
            await asyncio.gather(*(converse(channel) for _ in range(5)))

    busy = in_thread(asyncio.run, main(), name="busy")
    wait(begun)
    try:
        taken = [snapshot() for _ in range(10)]
    finally:
        enough.set()
    busy.result()
    directions = [
        direction
        for one in taken
        for stream in streams(one, "Busy")
        for direction in (stream.read, stream.write)
        if direction is not None
    ]
    assert directions
    owners = [direction.owner for direction in directions if direction.owner is not None]
    assert [owner for owner in owners if owner.name == "(not found)"] == []
    assert {owner.kind for owner in owners} <= {"task"}


def test_items_while_others_come() -> None:
    """A table of weak references may grow while its items are told."""

    class Key:
        pass

    keys = [Key() for _ in range(3)]
    table = weakref.WeakKeyDictionary(dict.fromkeys(keys, "value"))
    told = []
    for key, value in items_of(table):
        told.append((key, value))
        keys.append(Key())
        table[keys[-1]] = "later"
    assert told == [(key, "value") for key in keys[:3]]
    told.clear()
    del key  # the third of them
    iterator = items_of(table)
    next(iterator)
    del table[keys[1]], keys[2]  # one that was taken out, and one that died
    assert len(list(iterator)) == 3


async def test_an_owner_that_came_after_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who shows a frame and was not seen has come since; who has gone is no owner."""
    stream = Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE, asyncio.get_running_loop())
    direction = AioDirection(stream, Way.READ)
    look = sight.Sight([])
    assert look.owner_not_seen(direction) is None
    direction.taken = True
    with monkeypatch.context() as frames:
        frames.setattr(sight, "owner_with_frame", lambda direction: "somebody")
        assert look.owner_not_seen(direction) is None
    for _ in range(2):
        owner = look.owner_not_seen(direction)
        assert owner is not None
        assert owner.name == "(not found)"
        monkeypatch.setattr(sight, "_ELSEWHERE", 0)


@pytest.mark.skipif(
    not SyncFields.shows_frames, reason="in C it asks for the time before it claims"
)
def test_an_owner_before_it_has_noted_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is not that of the operation before it."""
    taken: list[Snapshot] = []

    def clock() -> float:
        if due and threading.get_ident() == me:  # the handler asks for the time as well
            due.clear()
            taken.append(snapshot())
            asked.append(status(call).read)
        return 5.0

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        yield from (b"0", b"1")

    me = threading.get_ident()
    due: list[bool] = []
    asked: list[Owner | None] = []
    with sync_server({"Claim": US(handler)}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Claim"))(b"")
        monkeypatch.setattr(core_advances, "monotonic", clock)
        assert next(call) == b"0"
        due.append(True)
        assert list(call) == [b"1"]
    (stream,) = (one for one in streams(taken[0], "Claim") if one.side == "client")
    assert stream.read is not None
    assert stream.read.owner is not None
    assert (stream.read.owner.operation, stream.read.owner.held_seconds) == ("next", 0.0)
    assert stream.read.last_began_seconds == 0.0
    (owner,) = asked
    assert owner is not None
    assert (owner.operation, owner.held_seconds) == ("next", 0.0)


async def test_a_handler_that_is_about_to_yield(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is found, at its line, before it has noted the time: in Python, for C has noted it then."""
    monkeypatch.setattr(aio_handlers, "compiled", None)
    taken: list[Snapshot] = []

    def clock() -> float:
        taken.append(snapshot())
        return 5.0

    async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"0"
        yield b"1"

    async with aio_server({"Yield": US(handler)}) as address, aio_channel(address) as channel:
        monkeypatch.setattr(aio_handlers, "monotonic", clock)
        call = channel.unary_stream(path("Yield"))(b"")
        assert [message async for message in call] == [b"0", b"1"]
    (stream,) = (one for one in streams(taken[1], "Yield") if one.side == "server")
    assert stream.write is not None
    owner = stream.write.owner
    assert owner is not None
    assert (owner.operation, owner.held_seconds) == ("yield", 0.0)
    assert [frame.code for frame in owner.stack] == ['yield b"1"']


@pytest.mark.parametrize("code", [code for code in OPERATIONS if id(code) not in ONLOOKERS])
def test_how_far_an_operation_has_come(code: Any) -> None:
    """One that is about to claim its direction is nobody's owner: another one may be inside."""
    direction = AioDirection(Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE), Way.READ)
    names = {"direction": direction, "owns": True}
    last = max(instruction.offset for instruction in dis.get_instructions(code))
    roles = []
    for at in range(0, last + 1, 2):
        frame: Any = SimpleNamespace(f_code=code, f_lasti=at, f_locals=names)
        roles.append([(role.is_owner, role.is_timed) for role in guard_roles.roles([frame])])
        assert (guard_roles.inside([frame], direction) is not None) == bool(roles[-1])
    changes = [one for one, before in zip(roles, [None, *roles], strict=False) if one != before]
    assert changes == [[], [(True, False)], [(True, True)]]
    claim, note = (at // 2 for at in core_operations._points_of(code))
    assert (roles[claim], roles[note]) == ([], [(True, False)])  # neither is done yet


async def test_tasks_that_asyncio_keeps_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sets of tasks are missing, asyncio is asked."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()

    def tasks(loops: set[asyncio.AbstractEventLoop]) -> list[asyncio.Task[Any]]:
        tables = loops_door.tables_of_tasks(loops)
        return loops_door.tasks_among([one for table in tables for one in table], loops)

    assert me in tasks({loop})
    assert tasks(set()) == []
    monkeypatch.setattr(loops_door, "_KEPT", ())
    assert me in tasks({loop})
    assert tasks(set()) == []


def test_chains_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a chain that is too long the beginning is seen; what has ended shows no frame."""

    async def ended() -> None: ...

    async def outer() -> None:
        await inner()

    @types.coroutine
    def inner() -> Iterator[None]:
        yield

    coroutine = outer()
    coroutine.send(None)
    assert len(inspect_lines.Lines().shown(coroutine, set())[1]) == 2
    monkeypatch.setattr(inspect_lines, "CHAIN_LENGTH", 1)
    assert len(inspect_lines.Lines().shown(coroutine, set())[1]) == 1
    coroutine.close()
    over = ended()
    over.close()
    assert inspect_lines.Lines().shown(over, set()) == (0, [])


def test_a_direction_that_its_stream_has_replaced() -> None:
    """One in which somebody was seen is there beside those that the stream has by now."""
    stream = Stream("/x", Side.SERVER, Api.AIO, Mode.RAISE)
    first = stream.write = AioDirection(stream, Way.WRITE)
    second = stream.write = AioDirection(stream, Way.WRITE)
    assert stream.write is second
    assert inspect_living.others_among([stream], [second]) == {}
    assert inspect_living.others_among([stream], [second, first]) == {id(stream): [first]}


def test_a_stream_that_ends_during_the_look() -> None:
    """It is left out where nobody is inside of it."""
    stream = Stream("/x", Side.SERVER, Api.SYNC, Mode.RAISE)
    look = sight.Sight([])
    look.directions.clear()  # of streams that other tests have left
    teller = inspect_telling.Teller([stream], look, inspect_telling.Origins(look.lines), {})
    assert len(list(teller.told())) == 1
    stream.ended = True
    assert list(teller.told()) == []


LOOKING = """
import gc, weakref
import grpc
import grpc_guard

class Held:
    pass

def look():
    held = Held()
    grpc_guard.snapshot()
    return weakref.ref(held)

gc.disable()
print("kept" if look()() else "gone")
"""


def test_nothing_of_the_caller_is_kept() -> None:
    """A snapshot looks at the stack of its own thread too, and lets go of it.

    In a process of its own: where gevent is loaded, the walk for greenlets keeps some objects until
    the collector runs.
    """
    done = subprocess.run(
        [sys.executable, "-c", LOOKING],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "gone\n"


async def test_tasks_that_await_tasks() -> None:
    """Those that wait for plain futures wait for no task."""
    future = asyncio.get_running_loop().create_future()

    async def wait_for(awaited: Any) -> None:
        await awaited

    inner = [asyncio.ensure_future(wait_for(future)) for _ in range(2)]
    outer = asyncio.ensure_future(wait_for(inner[0]))
    await asyncio.sleep(0)
    try:
        assert list(loops_door.waits_for_tasks(inner)) == []
        assert list(loops_door.waits_for_tasks([*inner, outer])) == [(outer, inner[0])]
    finally:
        future.set_result(None)
        await asyncio.gather(*inner, outer)
