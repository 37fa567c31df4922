"""What one look remembers of the last: of tasks that have not gone on, and nothing stale."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import weakref
from typing import Any

import grpc
import pytest
from inside import AioDirection, Api, Mode, Side, Stream, Way, remembered, sight
from support.stage import BULK, NARROW
from support.staging import PATIENCE, aio_channel, aio_server, path, settle, within

from grpc_guard import Owner, snapshot
from grpc_guard.inspection import Snapshot, StreamSnapshot

SS = grpc.stream_stream_rpc_method_handler
STANDING, HANDLING = remembered.Standing(None, "read"), remembered.Standing(())


pytestmark = pytest.mark.usefixtures("followed")


def told(taken: Snapshot, method: str) -> list[Any]:
    """Return the parties of the streams of `method`, and its handlers, without their times."""
    owners = [
        owner
        for stream in taken.streams
        if stream.rpc == path(method)
        for direction in (stream.read, stream.write)
        if direction is not None and (owner := direction.owner) is not None
    ]
    for server in taken.servers:
        owners += [one.handler for one in server.handlers if one.rpc == path(method)]
    return sorted((dataclasses.replace(one, held_seconds=None) for one in owners), key=repr)


def line(owner: Owner) -> str:
    assert owner.site is not None
    return owner.site.code


async def echo(requests: Any, context: Any) -> None:
    async for request in requests:
        await context.write(request)


async def test_what_has_not_gone_on(followed: list[Any]) -> None:
    """It is told as it was; of what has gone on, what it does now."""
    async with aio_server({"Known": SS(echo)}) as address, aio_channel(address) as channel:
        calls = [channel.stream_stream(path("Known"))() for _ in range(4)]
        arrived = [asyncio.Event() for _ in calls]

        async def converse(call: Any, event: asyncio.Event) -> None:
            await call.write(b"0")
            await call.read()
            event.set()
            await call.read()  # the second one
            await asyncio.Event().wait()

        tasks = [
            asyncio.create_task(converse(*both), name=f"reader {number}")
            for number, both in enumerate(zip(calls, arrived, strict=True))
        ]
        for event in arrived:
            await within(event.wait())
        await settle()
        first = told(snapshot(), "Known")
        second = told(snapshot(), "Known")
        followed.clear()
        third = told(snapshot(), "Known")
        assert set(followed).isdisjoint(tasks)
        await calls[1].write(b"1")
        while calls[1]._self_read.taken:
            await settle()
        tasks[2].set_name("renamed")
        fourth = told(snapshot(), "Known")
        fifth = told(snapshot(), "Known")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=PATIENCE)
    assert first == second == third
    readers = [one for one in first if one.operation == "read"]
    assert [one.name for one in readers] == [f"reader {number}" for number in range(4)]
    assert {line(one) for one in readers} == {"await call.read()  # the second one"}
    assert len([one for one in first if one.operation == "handler"]) == 4
    assert fourth == fifth
    names = [one.name for one in fourth if one.operation == "read"]
    assert names == ["reader 0", "reader 3", "renamed"]


async def test_a_read_at_another_line() -> None:
    """The line is the one at which the task is now, and the direction that it is in."""
    async with aio_server({"Lines": SS(echo)}) as address, aio_channel(address) as channel:
        one, other = (channel.stream_stream(path("Lines"))() for _ in range(2))

        async def converse() -> None:
            await one.read()  # first
            await other.read()  # then

        task = asyncio.create_task(converse())
        await settle()
        for _ in range(3):
            taken = snapshot()
        before = [x for x in told(taken, "Lines") if x.operation == "read"]
        await one.write(b"0")
        while not other._self_read.taken:
            await settle()
        taken = snapshot()
        after = [x for x in told(taken, "Lines") if x.operation == "read"]
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
    assert [line(one) for one in before] == ["await one.read()  # first"]
    assert [line(one) for one in after] == ["await other.read()  # then"]


async def test_what_is_looked_for_each_time() -> None:
    """The line of a task that is a read and nothing else, and messages that cannot be sent."""

    async def deaf(requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    async def requests() -> Any:
        while True:
            yield BULK

    async def gathers(call: Any) -> None:
        await asyncio.gather(call.read())

    async with aio_server({"Each": SS(deaf)}, options=NARROW) as address:
        async with aio_channel(address, options=NARROW) as channel:
            call = channel.stream_stream(path("Each"))(requests())
            reader = asyncio.create_task(gathers(call))
            async with asyncio.timeout(PATIENCE):
                while not (call._self_read.taken and any(map(is_stuck, snapshot().streams))):
                    await settle()
            seen = []
            for _ in range(3):
                seen += [one for one in snapshot().streams if is_stuck(one)]
            call.cancel()
            await asyncio.wait({reader}, timeout=PATIENCE)
    assert len(seen) == 3
    owners = [one.read.owner for one in seen if one.read is not None]
    lines = [(one.relation, line(one)) for one in owners if one is not None]
    assert lines == [("awaited-by", "await asyncio.gather(call.read())")] * 3


def is_stuck(stream: StreamSnapshot) -> bool:
    is_it = stream.rpc == path("Each") and stream.side == "client" and stream.write is not None
    return is_it and stream.write is not None and stream.write.unsent


async def waits(future: Any) -> None:
    await future


def recalled(*tasks: Any) -> tuple[list[Any], list[Any], Any]:
    """Return what the next look recalls of these tasks, which it has to follow, and its memory."""
    memory, fresh = remembered.Memory({asyncio.get_running_loop()}), list[Any]()
    return list(memory.recalled(list(map(weakref.ref, tasks)), fresh)), fresh, memory


def leaving(*tasks: Any) -> tuple[list[Any], list[Any]]:
    """Return the same of a look that notes nothing."""
    found, fresh, memory = recalled(*tasks)
    memory.leave()
    return found, fresh


def is_known(task: Any) -> bool:
    return leaving(task)[1] == []


def known_tasks() -> list[Any]:
    known = remembered._last[2]
    return [one() for one in (known if isinstance(known, dict) else known.known())]


async def test_what_is_remembered_and_of_whom() -> None:
    """Only the same task that waits for the same future of asyncio's own class."""

    class Own(asyncio.Future[None]):
        pass

    direction = AioDirection(Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE), Way.READ)
    future, kept = (asyncio.get_running_loop().create_future() for _ in range(2))
    task = asyncio.create_task(waits(future))
    others = [asyncio.create_task(waits(one)) for one in (Own(), task, kept)]
    handler = asyncio.create_task(waits(asyncio.get_running_loop().create_future()))
    await settle()
    both = [task, *others, handler]
    _, fresh, memory = recalled(*both)
    assert fresh == both
    memory.note(both[:1], STANDING, [direction])
    memory.note(others, remembered.NOWHERE)
    memory.note([handler], HANDLING)
    memory.leave()
    for _ in range(2):
        found, fresh = leaving(*both)
        assert found == [(STANDING, [task], [direction]), (HANDLING, [handler], [])]
        assert fresh == others[:2]  # and not the last one, which is nowhere
    remembered._last[1] = {id(None)}  # a loop at whose tasks this look does not look
    assert leaving(*both) == ([], both)
    for one in both:
        one.cancel()
    await asyncio.wait(both, timeout=PATIENCE)


async def test_a_future_that_has_gone() -> None:
    """A task that waits for nothing yet does not wait for what is no more."""
    ready = asyncio.create_task(settle())
    known, ends = remembered.Memory({asyncio.get_running_loop()}), weakref.ref(ready)
    await asyncio.wait({ready}, timeout=PATIENCE)
    del ready
    gc.collect()
    assert ends() is None
    alike = asyncio.create_task(settle())  # waits for nothing yet, as what is gone does
    known._before = {weakref.ref(alike): (ends, STANDING, None)}
    fresh: list[Any] = []
    assert list(known.recalled_in_python([weakref.ref(alike)], fresh)) == []
    assert fresh == [alike]
    await asyncio.wait({alike}, timeout=PATIENCE)


async def test_who_need_not_be_looked_at_again() -> None:
    """Who is done, and who waits for the core of grpcio alone, whatever that is."""
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(2)]

    async def waits_twice() -> None:
        for future in futures:
            await future

    task, done = asyncio.create_task(waits_twice()), asyncio.create_task(settle())
    await asyncio.wait({done}, timeout=PATIENCE)
    _, fresh, memory = recalled(task, done)
    assert fresh == [task]
    memory.note([task], remembered.SETTLED)
    memory.leave()
    assert leaving(task, done) == ([], [])
    futures[0].set_result(None)
    await settle()
    assert leaving(task, done) == ([], [])
    futures[1].set_result(None)
    await within(task)


async def test_two_looks_at_once() -> None:
    """One of them remembers nothing; what the last one leaves is known to the next."""
    task = asyncio.create_task(waits(asyncio.get_running_loop().create_future()))
    await settle()
    first = recalled(task)[2]
    first.note([task], STANDING)
    first.leave()
    first, other = recalled(task), recalled(task)
    assert first[:2] == ([(STANDING, [task], [])], [])
    assert other[1] in ([], [task])  # the core in Python has a table for each
    first[2].leave()
    if other[1]:
        other[2].note([task], HANDLING)
    other[2].leave()
    assert is_known(task)
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE)


async def test_a_task_that_goes_on_during_the_look() -> None:
    """Nothing is remembered of it: it may have gone on before or after it was followed."""
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def waits_twice() -> None:
        for future in futures:
            await future

    task = asyncio.create_task(waits_twice())
    await settle()
    _, _, memory = recalled(task)
    futures[0].set_result(None)
    await settle()
    memory.note([task], STANDING)
    memory.leave()
    assert leaving(task) == ([], [task])
    futures[1].set_result(None)
    await within(task)


async def test_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No task, future or direction lives longer; what is known of those that are gone is forgotten."""
    direction = AioDirection(Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE), Way.READ)
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(waits(future))
    await settle()
    memory = recalled(task)[2]
    memory.note([task], STANDING, [direction])
    memory.leave()
    assert known_tasks() == [task]
    with monkeypatch.context() as later:
        later.setattr(remembered, "_SECONDS", 0.0)  # as if it were long ago
        assert recalled(task)[1] == [task]
    assert is_known(task)
    future.set_result(None)
    while not task.done():
        await settle()
    gone = [weakref.ref(one) for one in (task, future, direction)]
    del task, future, direction, memory
    gc.collect()
    assert [one() for one in gone] == [None, None, None]
    snapshot()
    snapshot()
    assert None not in known_tasks()


@pytest.mark.parametrize("seconds", [float("inf"), 0.0], ids=["remembered", "alone"])
async def test_an_eager_task_that_is_in_two_tables(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """It is looked at once: it has become a scheduled one after the eager ones were copied."""
    monkeypatch.setattr(remembered, "_SECONDS", seconds)
    task = asyncio.create_task(waits(asyncio.get_running_loop().create_future()))
    await settle()
    tables = [{weakref.ref(task, lambda reference: None)}, [weakref.ref(task)]]
    monkeypatch.setattr(remembered, "tables_of_tasks", lambda loops: tables)
    fresh: list[Any] = []
    with remembered.Memory({asyncio.get_running_loop()}) as memory:
        assert list(memory.looked_at(fresh)) == []
    assert fresh == [task]
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE)


class Task(asyncio.Task[None]):
    """A kind of its own."""


async def test_nothing_is_kept_of_a_look_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has met until then would hold futures of the program, and its loops."""
    loop = asyncio.get_running_loop()
    sight.Sight({loop})  # and leaves its memory to the next one
    future = loop.create_future()
    tasks = [Task(waits(future), loop=loop) for _ in range(2)]
    await settle()
    told = iter([loop])  # by one of them; the other fails

    def get_loop(self: object) -> asyncio.AbstractEventLoop:
        found = next(told, None)
        if found is None:
            raise LookupError
        return found

    with monkeypatch.context() as meanwhile, pytest.raises(LookupError):
        meanwhile.setattr(Task, "get_loop", get_loop)
        sight.Sight({loop})
    future.set_result(None)
    await within(asyncio.wait(tasks))
    gone = weakref.ref(future)
    del future
    assert gone() is None


async def test_one_look_alone_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """That would take time, for nothing."""
    monkeypatch.setattr(remembered, "_SECONDS", 0.0)
    gate = asyncio.create_task(waits(asyncio.get_running_loop().create_future()))
    await settle()
    sight.Sight({asyncio.get_running_loop()})
    assert remembered._last[2] == {}
    gate.cancel()
    await asyncio.wait({gate}, timeout=PATIENCE)
