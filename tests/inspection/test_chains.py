"""Chains of awaits that are followed together say what each says by itself."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import (
    OPERATIONS,
    AioDirection,
    Api,
    Mode,
    Side,
    Stream,
    Way,
    chains,
    guard_noted,
    guard_roles,
    inspect_lines,
    native,
    remembered,
    sight,
    waiters,
)
from inside import waits as inspect_waits
from support.staging import PATIENCE, aio_channel, aio_server, path, settle

EACH = 5  # tasks of each kind: more than are followed one by one
KINDS: list[Callable[[Any], Any]] = []


def kind(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    KINDS.append(function)
    return function


@kind
async def waits(future: Any) -> None:
    await future


@kind
async def calls_another(future: Any) -> None:
    await waits(future)


@kind
async def at_one_of_two_lines(future: Any) -> None:
    if future.number % 2:
        await waits(future)
    await calls_another(future)


@kind
async def iterates(future: Any) -> None:
    async def messages() -> AsyncIterator[None]:
        await waits(future)
        yield

    async for _ in messages():
        pass


@kind
async def awaits_a_wrapper(future: Any) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return waits(future).__await__()

    await Awaitable()


@kind
async def awaits_a_generator(future: Any) -> None:
    @types.coroutine
    def generator() -> Iterator[Any]:
        yield from future

    await generator()


@kind
async def awaits_a_task(future: Any) -> None:
    await asyncio.shield(asyncio.ensure_future(future))


class Numbered(asyncio.Future[None]):
    number = 0


def together(
    tasks: list[Any], groups: Any = chains.groups
) -> tuple[dict[Any, Any], dict[Any, list[Any]]]:
    """Return kinds and links of each task, and the frames of those, as they are found together."""
    ends = {id(waiters.idle_type(asyncio.get_running_loop()))}
    found, frames = {}, {}
    for group in groups(tasks, inspect_lines.Lines(), ends):
        for index, task in enumerate(group.tasks):
            found[task] = group.kinds, [column[index] for column in group.shown]
        for place in chains.places(group):
            for index, task in enumerate(place.tasks):
                frames[task] = place.frames_of(index)
    return found, frames


def alone(tasks: list[Any]) -> dict[Any, Any]:
    """Return kinds and links of each task as they are found one by one."""
    lines, ends = inspect_lines.Lines(), {id(waiters.idle_type(asyncio.get_running_loop()))}
    return {task: lines.shown(task.get_coro(), ends) for task in tasks}


@pytest.mark.parametrize("length", [500, 3])
async def test_as_one_by_one(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the chains consist of; one that is too long is followed as far."""
    for module in (chains, inspect_lines):
        monkeypatch.setattr(module, "CHAIN_LENGTH", length)
    tasks = []
    for function in KINDS:
        for number in range(EACH):
            future = Numbered()
            future.number = number
            tasks.append(asyncio.create_task(function(future)))
    await settle()
    await settle()
    found, frames = together(tasks)
    assert together(tasks, chains.groups_in_python) == (found, frames)
    expected = alone(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=PATIENCE)
    assert found == expected
    assert {task: len(shown) for task, (_, shown) in expected.items()} == {
        task: len(some) for task, some in frames.items()
    }
    assert {len(shown) for _, shown in expected.values()} >= {1, 2, 3}


def without_core(found: dict[Any, tuple[int, Any]]) -> dict[Any, tuple[int, Any]]:
    """Return the same as if it were not known that a chain begins in the core of grpcio."""
    return {task: (kinds & ~inspect_lines.CORE, rest) for task, (kinds, rest) in found.items()}


async def test_rpcs_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains that end in the core of grpcio are not followed into it: it would say nothing."""

    async def echo(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request)

    handler = grpc.stream_stream_rpc_method_handler(echo)
    async with aio_server({"Echo": handler}) as address, aio_channel(address) as channel:
        calls = [channel.stream_stream(path("Echo"))() for _ in range(EACH)]
        for call in calls:
            await call.write(b"")
            await call.read()
        readers = [asyncio.create_task(call.read()) for call in calls]
        await settle()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        found, expected = together(tasks)[0], alone(tasks)
        assert together(tasks, chains.groups_in_python)[0] == found
        monkeypatch.setattr(inspect_lines, "awaits_core", lambda code: False)
        followed = together(tasks)[0], alone(tasks)
        for call in calls:
            call.cancel()
        await asyncio.wait(readers, timeout=PATIENCE)
    assert found == expected
    assert without_core(found) == followed[0] == followed[1]
    assert inspect_lines.CORE in {kinds for kinds, _ in found.values()}  # grpcio's own tasks
    assert (
        len([kinds for kinds, _ in found.values() if kinds & inspect_lines.OPERATION]) == 2 * EACH
    )


async def test_tasks_that_handle_an_rpc_by_name_alone() -> None:
    """Those of one group that do are told from those that do not."""
    future = asyncio.get_running_loop().create_future()
    coroutines = [waits(future) for _ in range(EACH)]
    for coroutine in coroutines[:2]:
        coroutine.__name__ = "_handle_exceptions"
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await settle()
    for _ in range(3):  # the first one alone, and those that remember
        look = sight.Sight({asyncio.get_running_loop()})
        handling = {task for some, _ in look.rpc_tasks for task in some}
        assert handling & set(tasks) == set(tasks[:2])
    future.set_result(None)
    await asyncio.wait(tasks, timeout=PATIENCE)


def test_places_of_tasks_that_go_on() -> None:
    """Tasks at different instructions are apart; one that has left its coroutine shows less."""

    @types.coroutine
    def inner() -> Iterator[None]:
        yield

    async def outer() -> None:
        await inner()
        await inner()

    coroutines = [outer() for _ in range(4)]
    for coroutine in coroutines:
        coroutine.send(None)
    coroutines[1].send(None)
    names: list[Any] = ["first", "second", "third", "fourth"]
    found = list(chains.places(chains.Group(names, 1, [coroutines])))
    assert [place.tasks for place in found] == [["first", "third", "fourth"], ["second"]]
    coroutines[2].close()
    found = list(chains.places(chains.Group(names, 1, [coroutines])))
    assert [(place.tasks, len(place.frames)) for place in found] == [
        (["first"], 1),
        (["second"], 1),
        (["third"], 0),
        (["fourth"], 1),
    ]
    for coroutine in coroutines:
        coroutine.close()


def test_what_links_without_code_drive() -> None:
    """The first coroutine among what each holds, wherever that is."""

    async def driven() -> None: ...

    one, other = driven(), driven()
    assert list(waiters.driven_by([[1, one], [2, other]])) == [one, other]
    assert list(waiters.driven_by([[1, one], [other]])) == [one, other]
    assert list(waiters.driven_by([[1, one], [other, 1]])) == [one, other]
    assert list(waiters.driven_by([[1], [2, other]])) == [None, other]
    assert list(waiters.driven_by([[1], [other, 2]])) == [None, other]
    assert list(waiters.driven_by([[1], [2]])) == [None, None]
    one.close()
    other.close()


def test_what_a_place_tells() -> None:
    """The role of all who are there, unless a local variable of theirs says more of it."""
    direction = AioDirection(Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE), Way.READ)
    for code in OPERATIONS:
        for names in ({"direction": direction}, {"direction": direction, "owns": False}):
            frame: Any = SimpleNamespace(f_code=code, f_lasti=1 << 20, f_locals=names)
            found = guard_roles.owner_at([frame])
            if found is not None:
                assert [found[1]] == list(guard_roles.roles([frame]))
                assert "owns" not in code.co_varnames
    frame = sys._getframe()
    assert guard_roles.owner_at([frame]) is None
    (told,) = {code for code in OPERATIONS if code.co_qualname == "ReadingCall.read"}
    frames: list[Any] = [
        SimpleNamespace(f_code=told, f_lasti=1 << 20, f_locals={"direction": direction}),
        SimpleNamespace(f_code=told, f_lasti=1 << 20, f_locals={}),
    ]
    look = sight.Sight([])
    for inside, is_told in ((frames[:1], True), (frames, False)):
        place = chains.Place(inside, [inside, [frame] * len(inside)], [])
        assert (look._standing_at(place) is not None) == is_told


async def test_a_direction_that_another_party_has_by_now() -> None:
    """The look tells of the one that it met last, alone or with others at the same place."""
    direction = AioDirection(Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE), Way.READ)
    frame, task = sys._getframe(), asyncio.current_task()
    assert task is not None
    look = sight.Sight([])
    thread = inspect_waits.Party.thread(threading.get_ident())
    look.joins.append(inspect_waits.Wait(thread, thread))
    alone = guard_roles.Role(direction, "read", True, [frame])
    together = remembered.Standing(None, "read", look.lines.stack([frame]))
    for _ in range(2):
        look._note(thread, [alone])
        assert look.holder(direction) is thread
        assert look.owner(direction).kind == "thread"
        assert look.inside_of_waits() == [direction]
        look._note_together([task], together, [direction])
        assert look.holder(direction).actual_task is task
        assert look.owner(direction).kind == "task"
        assert look.inside_of_waits() == []
    look.forget_frames()


class Pause:
    """What a coroutine is suspended at."""

    def __await__(self) -> Any:
        yield


class Operation(SimpleNamespace):
    """An aio operation as one of a compiled core, which shows no frame."""


def test_operations_that_show_no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are at one place if they do the same, and each is at its own if one has left."""
    monkeypatch.setattr(chains, "AioOperation", Operation)
    monkeypatch.setattr(guard_noted, "AioOperation", Operation)

    async def reads() -> None:
        await Pause()  # here

    stream = Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE)
    directions = [AioDirection(stream, Way.READ) for _ in range(3)]
    operations = [Operation(direction=one, operation="read", owns=True) for one in directions]
    coroutines = [reads() for _ in directions]
    for coroutine in coroutines:
        coroutine.send(None)
    group = chains.Group("abc", inspect_lines.OPERATION, [coroutines, operations])
    (place,) = chains.places(group)
    told = sight.Sight([])._standing_at(place)
    assert told is not None
    assert (told[0].operation, told[1]) == ("read", directions)
    assert told[0].stack[-1].code == "await Pause()  # here"
    twice = place._replace(standing=place.standing * 2)
    assert sight.Sight([])._standing_at(twice) is None
    operations[1].operation = "write"
    assert [list(one.tasks) for one in chains.places(group)] == [["a", "c"], ["b"]]
    operations[1].owns, operations[1].direction = False, None
    alone = [(one.tasks, len(one.standing)) for one in chains.places(group)]
    assert alone == [(["a"], 1), (["b"], 0), (["c"], 1)]
    for coroutine in coroutines:
        coroutine.close()


def test_others_run_between_some_and_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """As between slices: see test_alarm.py."""
    happened: list[object] = []
    monkeypatch.setattr(native, "native", lambda module, name: happened.append)
    for some in native.slices_of("abcde", 2):
        happened.append(some)
    assert happened == ["ab", native._NAP, "cd", native._NAP, "e"]
    assert list(native.slices_of("")) == []
