"""What the compiled core does when the process is asked, its errors included: see hardship.py."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from inside import (
    AioDirection,
    Api,
    Mode,
    Origin,
    Side,
    Stream,
    Way,
    encoding,
    inspect_records,
    inspect_telling,
    inspection_pb2,
    sight,
)

from grpc_guard import Owner
from grpc_guard.inspection import HandlerSnapshot, StreamSnapshot
from support.hardship_aio import paused
from support.operating import ThisThread

Act = Callable[[], object]
FEW = 20  # more than are fetched ahead
MANY = 70  # more than a crowd has room for at first
STREAMS = inspection_pb2.Snapshot.DESCRIPTOR.fields_by_name["streams"]
HANDLERS = inspection_pb2.ServerSnapshot.DESCRIPTOR.fields_by_name["handlers"]


class Future:
    """What a task waits for."""


class Task:
    """A task that handles an RPC and waits."""

    _fut_waiter: Any = Future()
    _coroutine: Any = None

    def __init__(self, loop: object) -> None:
        self._loop = loop

    def get_coro(self) -> object:
        return self._coroutine

    def get_loop(self) -> object:
        return self._loop

    def get_name(self) -> str:
        return "HandleExceptions[/a.B/C]"

    def done(self) -> bool:
        return False


def look_acts(core: Any) -> dict[str, Act]:
    """Return, by name, all that the core does in a look."""
    loop = object()
    elsewhere = asyncio.new_event_loop()
    futures = [elsewhere.create_future() for _ in range(5)]
    elsewhere.close()
    tasks = [Task(loop) for _ in range(MANY)]
    directions = [direction() for _ in tasks]
    streams = [one.stream for one in directions]
    said = "read", (), True, 10.0

    def crowd() -> Any:
        made = core.Crowd(inspect_records.new_owner, lambda name: name)
        made.note(tasks, directions, *said)
        return made

    def crowded() -> None:
        made = crowd()
        made.note(tasks[:2], directions[:2], "write", (), False, 10.0)
        assert made.owner(directions[0]).operation == "write"
        made.forget(directions[0])
        assert made.owner(directions[0]) is made.holder(directions[0]) is None
        assert made.directions() == directions[1:]
        assert made.held_by({id(tasks[1])}) == directions[1:2]

    inside = crowd()
    others = [direction() for _ in range(FEW)]
    others[0].stream.origin = SimpleNamespace(since=1.0, place=None, kind="", name="", operation="")
    for one in others[1:]:
        one.stream.origin, one.stream.channel = Origin("start", None), loop
    every = [*streams[:FEW], *(one.stream for one in others)]
    look = sight.Sight([])
    look.crowd = inside
    look.owners[id(others[1])] = Owner("task", "a", "read", 1.0)
    look.directions[id(others[1])] = others[1]
    teller = inspect_telling.Teller(every, look, inspect_telling.Origins(look.lines), {id(loop): 1})
    told = teller._look()
    of = encoding.encoding_of(StreamSnapshot, STREAMS.message_type)

    # As they are; all in other places; and but for the last ones, where they were.
    orders = every, every, every[::-1], [*every[:2:-1], *every[:3]]

    def answer(copies: Any, every: Any = every) -> Any:
        order: list[Any] = []
        carried: dict[int, int] = {}
        scratch = core.Scratch()
        tables = carried, order, [], scratch, copies
        core.answer_streams(told, of, b"\x2a", every, 0, len(every), *tables)
        with memoryview(scratch) as view:
            assert len(view) > 0
        assert order == every
        assert carried == {1: FEW - 1}
        return scratch

    def answered() -> None:
        answer(None).clear()

    def answered_again() -> None:
        copies = core.Copies()
        for at, those in enumerate(orders):
            copies.begin()
            scratch, served = answer(copies, those), core.Scratch()
            assert copies.known() == (2 * FEW - 2, 0 if at == 0 else 2 * FEW - 2)
            handled = core.handled(core.InFlight(0))
            for task, one in zip(tasks, streams, strict=True):
                handled.put(id(task), one, 0.5)
            functions = (lambda _: ("/a.B/C", "a")), (lambda *_: (0.0, record))
            known = loop, handled, AioDirection, {}, *functions, "none", 1.0, copies, inside
            core.answer_handlers(known, handlers, b"\x0a", tasks, 0, FEW, (), served)
            copies.keep(scratch, served)
            scratch.clear()

    handlers = encoding.encoding_of(HandlerSnapshot, HANDLERS.message_type)
    record = HandlerSnapshot("/a.B/C", Owner("task", "a", "handler"), None)

    def served() -> None:
        handled = core.handled(core.InFlight(0))
        for task, one in zip(tasks, streams, strict=True):
            handled.put(id(task), one, 0.5)
        assert handled.get(id(tasks[0])) == (streams[0], 0.5)
        assert handled.since(id(tasks[0])) == 0.5
        scratch = core.Scratch()
        for name in ("/a.B/C", None):  # without, the function in Python describes them
            functions = (lambda _: (name, "a")), (lambda *_: (0.0, record))
            known = loop, handled, AioDirection, {}, *functions, "none", 1.0, None, inside
            core.answer_handlers(known, handlers, b"\x0a", tasks, 0, FEW, (), scratch)
        assert core.handlers_in_order(scratch, core.Scratch()) > 2 * FEW

    references = [weakref.ref(task) for task in tasks[: FEW + 2]]
    standing = (), "read", (), True

    def recalled() -> None:
        memory = core.Recollection("nowhere", "settled", "_fut_waiter", Future)
        for known in (0, FEW):
            assert memory.take()
            kept = set(references[known:]) | set(references)  # another order
            assert memory.meet((kept, []), {loop}) == FEW + 2
            fresh: list[Any] = []
            seen = crowd()
            memory.recalled(0, FEW + 2, fresh, seen, 10.0)
            assert len(fresh) == FEW + 2 - known
            assert len(seen.directions()) == MANY
            inside = [one for one in fresh if one in tasks[:FEW]]
            memory.note(inside, standing, directions[: len(inside)])
            assert len(memory.known()) == FEW
            memory.leave()

    class Reading:
        """A stream, which is read in a coroutine."""

        __slots__ = ("__weakref__", "coroutine", "direction", "stream")

        def __init__(self) -> None:
            self.stream = Stream("/a.B/C", Side.SERVER, Api.AIO, Mode.RAISE, ThisThread())  # type: ignore[arg-type]
            self.stream.read = self.direction = AioDirection(self.stream, Way.READ, paused)
            self.coroutine = self.reads()
            self.coroutine.send(None)

        read = core.AioMethod(paused, "read", "direction", None, 1)
        other = core.AioMethod(paused, "other", "direction", None, 1)

        async def reads(self) -> None:
            for _ in range(2):
                await self.read()
            for step in (self.read, self.other):
                await step()

    def inside_of_operations() -> None:
        reading = [Reading() for _ in range(FEW)]
        memory = core.Recollection("nowhere", "settled", "_fut_waiter", asyncio.Future)
        for task, one in zip(tasks, reading, strict=False):
            task._coroutine, task._fut_waiter = one.coroutine, futures[0]
        alone = None, "read", ("a line",), True
        # Who goes on, and how many of them to a line where nobody was, or to another operation at the same one.
        nobody, first, second, both = (), (0,), (1,), (0, 1)
        for gone, fresh in (
            *((nobody, FEW), (nobody, 0), (both, 0)),
            *((first, 1), (second, 0), (first, 1), (nobody, 0)),
        ):
            for at in gone:
                reading[at].coroutine.send(None)
                tasks[at]._fut_waiter = futures[futures.index(tasks[at]._fut_waiter) + 1]
            assert memory.take()
            listed = [one.stream for one in reading]
            assert memory.meet((references[:FEW], []), {loop}, listed) == FEW
            found: list[Any] = []
            seen = core.Crowd(inspect_records.new_owner, lambda name: name)
            memory.recalled(0, FEW, found, seen, 10.0)
            assert found == tasks[:fresh]
            assert seen.directions() == [one.direction for one in reading[fresh:]]
            memory.note(found, alone, [one.direction for one in reading[:fresh]])
            assert {weakref.getweakrefcount(one.direction) for one in reading} == {
                1
            }  # its stream's
            memory.leave()
        reading[:] = [Reading() for _ in range(FEW)]  # elsewhere, or in the same memory
        assert memory.take()
        memory.meet((references[:FEW], []), {loop}, [one.stream for one in reading])
        memory.recalled(0, FEW, again := [])
        assert again == tasks[:FEW]
        memory.leave()
        for task in tasks:
            task._coroutine, task._fut_waiter = None, Future()

    class Records(core.InFlight):  # type: ignore[misc]
        pass

    records = Records(0)
    running = [records.enter_task(one, task) for task, one in zip(tasks, streams, strict=True)]
    streams[0].loop = loop
    unread = Stream("/a.B/C", Side.SERVER, Api.AIO, Mode.RAISE)

    def listed() -> None:
        by_task = core.handled(records)
        assert len(by_task.streams()) == len(core.begun([by_task]).streams()) == len(running)
        found = [*streams, *streams[:3]]
        strays = core.gather(found, inside, others)
        assert (len(found), len(strays)) == (MANY + FEW, 0)
        core.oldest_first(found, core.begun([by_task]), 1.0, None)
        assert len(set(found)) == MANY + FEW
        assert core.loops_of(found) == {loop}
        assert core.unread([*found, unread], Api.AIO, Side.SERVER) == [unread]
        core.let_go(found)

    def met() -> None:
        here = sys._getframe()
        chains, found = core.look_at_threads({1: here}, {core.key_of(here): [1]}, {id(here.f_back)})
        assert [chain[at] for _, chain, (at,), _ in found] == [here]
        assert core.places_of(chains[1])[0] == id(here.f_code)
        chains[1].clear()  # else this frame holds itself

    return {
        "a crowd": crowded,
        "streams as an answer": answered,
        "streams as an answer again": answered_again,
        "streams as records": lambda: core.tell_streams(told, every, 0),
        "handlers as an answer": served,
        "tasks that are recalled": recalled,
        "tasks inside operations": inside_of_operations,
        "streams that are listed": listed,
        "threads that are met": met,
    }


def direction() -> AioDirection:
    """Return the READ direction of a new stream, which knows it."""
    stream = Stream("/a.B/C", Side.SERVER, Api.AIO, Mode.RAISE)
    stream.read = found = AioDirection(stream, Way.READ)
    return found
