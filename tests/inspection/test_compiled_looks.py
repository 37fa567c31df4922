"""What the compiled core does of a look, beside the core in Python: tasks, chains, who is inside."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import pytest
from inside import (
    AioDirection,
    Api,
    Mode,
    Origin,
    Side,
    Stream,
    Way,
    core_which,
    inspect_records,
    inspect_telling,
    noting,
    remembered,
    sight,
)
from support.snapshots import HERE
from support.staging import outcome

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


def broken(*_: object) -> Any:
    raise ArithmeticError


def unchanged_references(function: Callable[[], object], *things: object) -> bool:
    """Tell whether `function`, called often, keeps none of `things`."""
    function()
    before = list(map(sys.getrefcount, things))
    for _ in range(50):
        function()
    after = map(sys.getrefcount, things)
    return max(now - then for now, then in zip(after, before, strict=True)) < 50


# Chains


class Link:
    """What awaits another one, and has some code."""

    def __init__(self, code: object, awaits: object = None) -> None:
        self.code = code
        self.awaits = awaits


class Task:
    def __init__(self, first: object) -> None:
        self.first = first

    def get_coro(self) -> object:
        return self.first


CORE, LONGEST = 16, 6
READ = attrgetter("code"), attrgetter("awaits")
WITHOUT: Any = (lambda link: None), (lambda link: link[0])


def reader(link: Any) -> Any:
    if isinstance(link, list):
        return WITHOUT
    return None if link == "end" else READ


def kind(code: Any, link: Any) -> int:
    return len(code)


def is_driven(one: object) -> bool:
    return isinstance(one, Link)


def follow(*firsts: object, **other: Any) -> list[Any]:
    said = {"reader": reader, "kind": kind, "without": WITHOUT, "driven": is_driven} | other
    found: list[Any] = compiled.chains(list(map(Task, firsts)), LONGEST, CORE, *said.values())
    return [(len(tasks), kinds, columns) for tasks, kinds, columns in found]


def test_where_chains_end() -> None:
    """At nothing, at a type that ends them, in the core, and when they are too long."""
    last = Link("a")
    assert follow() == []
    assert follow(None) == [(1, 0, [])]
    assert follow(last, last) == [(2, 1, [[last, last]])]
    outer, ended, core = Link("ab", last), Link("a", "end"), Link("a", Link("x" * CORE, last))
    assert follow(outer) == [(1, 3, [[outer], [last]])]
    assert follow(ended, last) == [(2, 1, [[ended, last]])]
    assert follow(core) == [(1, 1, [[core]])]
    at_once, nothing = Link("x" * CORE, last), Link("", Link("x" * CORE))
    found = [(1, CORE, []), (1, 0, [])]  # apart, though neither shows anything
    assert follow(at_once, nothing) == found
    assert follow(nothing, at_once) == found[::-1]
    silent = Link("", last)
    assert follow(silent) == [(1, 1, [[last]])]
    circle = Link("a")
    circle.awaits = circle
    assert follow(circle) == [(1, 1, [[circle]] * LONGEST)]


def test_what_is_driven() -> None:
    """The first that can be, of what a link without code holds; of many, Python finds it."""
    last, odd = Link("a"), object()
    assert follow([Link("b"), last], [last, odd]) == [(2, 1, [[last, last]])]  # from the end on
    assert follow([last, *[odd] * 9]) == [(1, 1, [[last]])]
    assert follow(["end"]) == [(1, 0, [])]  # by what Python finds


def test_more_types_than_are_kept() -> None:
    """Each is learned again."""
    links = [type(f"Link{number}", (Link,), {})("a") for number in range(40)]
    assert follow(*links, *links) == [(80, 1, [links * 2])]
    holders = [[link] for link in links]
    assert follow(*holders) == [(40, 1, [links])]


@pytest.mark.parametrize(
    "other",
    [
        *({name: broken} for name in ("reader", "kind", "driven")),
        *({"reader": lambda link, value=value: value} for value in (1, (1,), (1, 2))),
        *({"reader": lambda link, pair=pair: pair} for pair in ((broken, len), (READ[0], broken))),
        *({"kind": lambda *_, value=value: value} for value in ("a", -1)),
        {"reader": lambda link: WITHOUT, "driven": lambda one: Unknown()},
    ],
)
def test_a_chain_that_cannot_be_followed(other: dict[str, Any]) -> None:
    """What went wrong is told."""
    first = [Link("a")] if "driven" in other else Link("a")
    errors = ArithmeticError, TypeError, ValueError, AttributeError
    with pytest.raises(errors):
        follow(first, **other)
    with pytest.raises(AttributeError):
        compiled.chains([None], LONGEST, CORE, reader, kind, WITHOUT, is_driven)
    for wrong in ((), (1, LONGEST, CORE, reader, kind, WITHOUT, is_driven)):
        with pytest.raises(TypeError):
            compiled.chains(*wrong)


class Unknown:
    """Neither true nor false."""

    __bool__ = broken


def test_chains_keep_nothing() -> None:
    """Neither those that were followed, nor those that could not be."""
    last = Link("a")
    held, tasks = [last], [Task(Link("ab", last)), Task([last])]
    known = LONGEST, CORE, reader, kind, WITHOUT, is_driven
    things = last, held, tasks, *tasks, reader, kind, WITHOUT, is_driven, Link, Task

    def follow_them() -> None:
        compiled.chains(tasks, *known)
        for at in (2, 3, 5):
            outcome(compiled.chains, tasks, *known[:at], broken, *known[at + 1 :])
        outcome(compiled.chains, [*tasks, None], *known)

    assert unchanged_references(follow_them, *things)


# Tasks that have not gone on


LOOP: Any = object()


class Waiting:
    """A task of one loop."""

    def __init__(self, future: object, loop: object = LOOP, *, is_done: bool = False) -> None:
        self._fut_waiter = future
        self._loop, self._is_done = loop, is_done

    def get_loop(self) -> object:
        return self._loop

    def done(self) -> bool:
        return self._is_done


class Bare(Waiting):
    """One that does not say what it waits for."""

    def __init__(self) -> None:
        super().__init__(None)
        del self._fut_waiter


class World:
    """Tasks of which something is found, in two looks; things are named by their numbers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.futures = [loop.create_future() for _ in range(40)]
        self.tasks: list[Any] = [*map(Waiting, self.futures), Waiting(None), Bare()]
        self.tasks += [Waiting(self.futures[7], object()), Waiting(None, is_done=True)]
        self.directions = [direction() for _ in range(8)]
        self.references: list[Any] = [*map(weakref.ref, self.tasks), weakref.ref(direction())]
        self.seen: list[Any] = []

    def look(self, **noted: Any) -> None:
        """Look at the tasks, and note what is found of some that are fresh."""
        memory, fresh = remembered.Memory({LOOP}), list[Any]()
        found = list(memory.recalled(self.references, fresh))
        at, where = self.tasks.index, self.directions.index
        parts = [(one, list(map(at, some)), list(map(where, there))) for one, some, there in found]
        self.seen.append((parts, list(map(at, fresh))))
        for numbers, standing, directions in noted.values():
            there = [self.directions[number] for number in directions]
            memory.note([self.tasks[number] for number in numbers], standing, there)
        memory.leave()


def two_looks(loop: asyncio.AbstractEventLoop, patch: pytest.MonkeyPatch) -> tuple[World, Any]:
    """Return what there is, and what was seen of it."""
    patch.setattr(remembered, "_last", [0.0, set(), {}, {}])
    patch.setattr(remembered, "_SECONDS", float("inf"))
    world = World(loop)
    tasks, futures = world.tasks, world.futures
    world.look(
        reads=(range(6), READS, range(6)),
        writes=([6, 7], WRITES, ()),
        nowhere=([8, 41], remembered.NOWHERE, ()),
        settled=([9, 40], remembered.SETTLED, ()),
        fewer=([10, 11], READS, [6]),
    )
    tasks[1]._fut_waiter, tasks[7]._fut_waiter = futures[30], None
    tasks[2]._is_done = tasks[9]._is_done = True  # of one that waits as before
    del world.directions[4]
    gc.collect()
    world.references[12:20] = []  # those tasks are gone
    late = Waiting(futures[31])
    tasks.append(late)
    world.references.insert(3, weakref.ref(late))
    world.look(late=([44], WRITES, ()))
    world.references.reverse()
    world.look()
    return world, world.seen


READS, WRITES = (remembered.Standing(None, name) for name in ("read", "write"))


def test_tasks_are_recalled_as_in_python() -> None:
    """Those that wait for the same future, by their standing; of the others, those of the loops."""
    loop = asyncio.new_event_loop()
    with pytest.MonkeyPatch.context() as patch:
        world, seen = two_looks(loop, patch)
        last = remembered._last[2]
        assert type(last) is compiled.Recollection
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_which, "compiled", lambda: None)
        assert two_looks(loop, patch)[1] == seen
    first, second, third = seen
    assert first == ([], [*range(42)])
    assert second == (
        [(READS, [0, 2, 3, 5, 10], [0, 2, 3, 4, 5]), (WRITES, [6], [])],
        [1, 44, 4, 7, 11, *range(20, 40), 41],
    )
    assert third[0][1] == (WRITES, [6, 44], [])
    things = [*world.tasks, *world.futures, *world.directions, *world.references, READS]

    def look() -> None:
        last.take()
        last.meet((world.references,), {LOOP})
        last.recalled(0, 100, fresh := [])
        last.note(fresh, READS, ())
        last.leave()

    assert unchanged_references(look, *things)
    loop.close()


def test_a_set_of_references() -> None:
    """As asyncio has them: after some have come and gone, those that are in it."""
    tasks = [Waiting(Future()) for _ in range(300)]
    references = [weakref.ref(task) for task in tasks]
    memory: Any = compiled.Recollection(None, "settled", "_fut_waiter", Future)
    assert memory.take()
    kept: set[Any] = set()
    known: set[Any] = set()
    for size in (300, 300, 150, 40, 300, 0, 8):
        kept -= set(references[size:])
        kept |= set(references[:size])
        assert memory.meet((kept, []), {LOOP}) == size
        known &= set(tasks[:size])
        fresh: list[Any] = []
        ((_, recalled, _),) = memory.recalled(0, 1000, fresh) or ((None, [], None),)
        assert (set(recalled), set(fresh)) == (known, set(tasks[:size]) - known)
        memory.note(fresh[:100], "there", ())
        known |= set(fresh[:100])
        assert memory.take() is False
        memory.leave()
        assert memory.take()
        assert {reference() for reference in memory.known()} == known


class Future:
    """What a task waits for."""


class Strange(Waiting):
    """A task that says neither what it waits for nor whether it is done."""

    _fut_waiter = property(broken)  # type: ignore[assignment]

    def __init__(self) -> None:
        pass


class Meddling(Waiting):
    """A task that has another look use the memory while it is asked."""

    def done(self) -> bool:
        for method, *arguments in self.acts:  # type: ignore[attr-defined]
            outcome(method, *arguments)
            with pytest.raises(RuntimeError):
                method(*arguments)
        return False


def test_what_cannot_be_recalled() -> None:
    """What went wrong is told."""
    task, strange = Waiting(Future()), Strange()
    ref = weakref.ref(task)

    def memory(*references: Any) -> Any:
        found = compiled.Recollection(None, "settled", "_fut_waiter", Future)
        found.take()
        found.meet((list(references),), {LOOP})
        return found

    for wrong in ((), (None, None, 1, Future), (None, None, "a", 1)):
        with pytest.raises(TypeError):
            compiled.Recollection(*wrong)
    usual = memory(ref)
    for arguments in (
        (),
        ([], {LOOP}),
        (([ref],), [LOOP]),
        (({}, [ref]), {LOOP}),
        (([1],), {LOOP}),
    ):
        with pytest.raises(TypeError):
            usual.meet(*arguments)
    assert usual.known() == []
    for arguments in ((-1, 1, []), (2, 1, []), (0, -1, [])):
        with pytest.raises(ValueError, match="met"):
            memory(ref).recalled(*arguments)
    bare = compiled.Recollection(None, "settled", "_fut_waiter", Future)
    with pytest.raises(ValueError, match="met"):
        bare.recalled(0, 0, [])
    with pytest.raises(ValueError, match="met"):
        bare.note([task], "there", ())
    with pytest.raises(TypeError):
        bare.note([task], "there")
    with pytest.raises(TypeError):
        bare.note(1, "there", ())
    with pytest.raises(TypeError):
        bare.note([], "there", 1)
    with pytest.raises(KeyError):
        memory(ref).note([task], "there", ())
    with pytest.raises(ArithmeticError):
        memory(weakref.ref(strange)).recalled(0, 1, [])
    for spoil in ("get_loop", "done"):
        spoiled: Any = Waiting(None)
        setattr(spoiled, spoil, broken)
        with pytest.raises(ArithmeticError):
            memory(weakref.ref(spoiled)).recalled(0, 1, [])
    unknown = Waiting(None, is_done=Unknown())  # type: ignore[arg-type]
    unhashable = Waiting(None, [])
    for one, error in ((unknown, ArithmeticError), (unhashable, TypeError)):
        with pytest.raises(error):
            memory(weakref.ref(one)).recalled(0, 1, [])
    direction_less = memory(ref)
    direction_less.recalled(0, 1, [])
    with pytest.raises(TypeError):
        direction_less.note([task], "there", [1])  # no weak reference to that
    meddling: Any = Meddling(Future())
    memory_of_two = memory(weakref.ref(meddling))
    meddling.acts = [
        (memory_of_two.meet, ([],), {LOOP}),
        (memory_of_two.recalled, 0, 1, []),
        (memory_of_two.note, [], None, ()),
        (memory_of_two.leave,),
    ]
    fresh: list[Any] = []
    memory_of_two.recalled(0, 1, fresh)
    assert fresh == [meddling]


# Who is inside


class Named:
    def __init__(self, name: str) -> None:
        self.name = name

    def get_name(self) -> str:
        return self.name


def direction() -> AioDirection:
    return AioDirection(Stream("/x", Side.CLIENT, Api.AIO, Mode.RAISE), Way.READ)


def both_crowds() -> list[Any]:
    """Return an empty crowd of each core."""
    return [noting.Crowd(), noting.new_crowd()]


def told(crowd: Any, directions: list[Any]) -> Any:
    """Return all that a crowd tells of these directions."""
    every = [(crowd.owner(one), crowd.holder(one)) for one in directions]
    return every, crowd.directions(), crowd.held_by({id(crowd.holder(one)) for one in directions})


def test_owners_are_noted_as_in_python() -> None:
    """With their names, and for how long they have been inside; who was noted last, and nobody twice."""
    names = ["a", "HandleExceptions[/a.B/C]", "Hand", "", *map(str, range(200))]
    tasks: list[Any] = list(map(Named, names))
    inside: list[Any] = [direction() for _ in tasks]
    inside[0].since, inside[1].since = 8.5, 11.0
    other = Named("other")
    stranger: Any = SimpleNamespace(since=9.0)
    seen = []
    for crowd in both_crowds():
        assert told(crowd, inside[:1]) == ([(None, None)], [], [])
        crowd.note(tasks[:2], inside[:2], "read", (HERE,), True, 10.0)
        crowd.note(tasks[2:], inside[2:], "read", (HERE,), False, 10.0)
        crowd.note([other, other], [inside[0], stranger], "write", (), True, 10.0)
        crowd.note([], [], "write", (), True, 10.0)
        crowd.forget(inside[1])
        crowd.forget(direction())
        seen.append(told(crowd, [*inside, stranger]))
        crowd.note(tasks[:2], inside[:2], "read", (HERE,), True, 10.0)
        assert crowd.owner(inside[0]).held_seconds == 1.5
        assert crowd.owner(inside[1]).name == "handler of /a.B/C"
        assert crowd.owner(inside[1]).held_seconds == 0.0
    assert seen[0] == seen[1]
    assert [one.name for one, _ in seen[0][0][2:5] if one is not None] == ["Hand", "", "0"]
    assert (seen[0][0][0][0].operation, seen[0][0][0][1], seen[0][0][1]) == (
        *("write", other),
        (None, None),
    )


@pytest.mark.parametrize("is_alone", [True, False], ids=["alone", "with a later one"])
@pytest.mark.parametrize("is_mixed", [False, True], ids=["of one kind", "of several kinds"])
def test_crowds_of_two_looks(is_alone: bool, is_mixed: bool) -> None:
    """Each knows who was noted in it, though both note the same directions, in another order."""
    tasks: list[Any] = [Named(f"a {number}") for number in range(200)]
    others: list[Any] = [Named(f"b {number}") for number in range(200)]
    inside: list[Any] = [direction() for _ in tasks]
    stranger, nobody = SimpleNamespace(since=9.0), direction()
    seen = []
    for new in (noting.Crowd, noting.new_crowd):
        first: Any = new()
        first.note(tasks[:150], inside[:150], "read", (HERE,), False, 10.0)
        second: Any = first if is_alone else new()
        for crowd in (second, first) if is_mixed else ():
            crowd.note([tasks[0]], [stranger], "read", (HERE,), True, 10.0)
        second.note(others[:100], inside[:99:-1], "write", (HERE,), False, 10.0)
        first.note(tasks[120:], inside[120:], "read", (HERE,), False, 10.0)
        second.forget(inside[130])
        seen.append([told(one, [*inside, stranger, nobody]) for one in (first, second)])
    for one, other in zip(*seen, strict=True):
        assert one[0] == other[0]
        for number in (1, 2):  # in whatever order
            assert sorted(map(id, one[number])) == sorted(map(id, other[number]))


def test_a_crowd_keeps_nothing() -> None:
    """Neither those who were noted, nor those who were forgotten; the collector sees what it holds."""
    tasks: list[Any] = [Named("HandleExceptions[/a.B/C]"), Named("b")]
    inside = [direction() for _ in tasks]
    stack = (HERE, HERE)
    operation = "".join(["re", "ad"])

    def note() -> None:
        crowd: Any = noting.new_crowd()
        for _ in range(2):
            crowd.note(tasks, inside, operation, stack, True, 10.0)
            crowd.note(tasks, inside, operation, (), True, 10.0)
        crowd.forget(inside[0])
        told(crowd, inside)
        assert set(map(id, (*tasks[1:], *inside))) <= set(map(id, gc.get_referents(crowd)))

    assert unchanged_references(note, *tasks, *inside, stack, operation, HERE)
    alone: Any = noting.new_crowd()
    kept = Named("c")
    kept.crowd = alone  # type: ignore[attr-defined]
    alone.note([kept], inside[:1], "read", (), True, 10.0)
    gone = weakref.ref(kept)
    del alone, kept
    gc.collect()
    assert gone() is None


def test_who_cannot_be_noted() -> None:
    """What went wrong is told."""
    one, task = direction(), Named("a")
    new_owner = inspect_records.new_owner
    said = "read", (), True, 1.0
    for tasks, inside, error in (
        ([task], [SimpleNamespace()], AttributeError),
        ([task], [SimpleNamespace(since="")], TypeError),
        ([task], [one, one], ValueError),
        ((task,), [one], TypeError),
    ):
        with pytest.raises(error):
            noting.new_crowd().note(tasks, inside, *said)  # type: ignore[arg-type]
    for make in ((len, len), (compiled.Maker(type(HERE), ("line",)), len), ()):
        with pytest.raises(TypeError):
            compiled.Crowd(*make)
    crowd = compiled.Crowd(new_owner, broken)
    with pytest.raises(TypeError):
        crowd.held_by([])
    crowd.note([Named("H")], [one], *said)
    with pytest.raises(ArithmeticError):
        crowd.owner(one)
    for nameless in (Named(1), SimpleNamespace(get_name=broken)):  # type: ignore[arg-type]
        crowd.note([nameless], [one], *said)
        assert crowd.owner(one).name == "(a task without a name)"


def test_streams_are_gathered_as_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, and the directions that their streams do not know."""
    known, written, stray, single = (direction() for _ in range(4))
    known.stream.read, written.stream.write = known, written
    listed = [known.stream, direction().stream, known.stream]
    crowd = noting.new_crowd()
    many = [direction() for _ in range(40)]
    for one in many:
        one.stream.read = one
    tasks: Any = [Named("a")] * 44
    crowd.note(tasks, [known, written, stray, *many], "read", (), True, 1.0)
    crowd.forget(many[0])
    streams, in_python = list(listed), list(listed)
    strays = noting.gathered(streams, crowd, [single])
    every = [*listed[:2], written.stream, stray.stream, *(one.stream for one in many[1:])]
    assert streams == [*every, single.stream]
    assert strays == [stray, single]
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    noting.gathered(in_python, crowd, [single])
    assert in_python == streams
    monkeypatch.undo()
    for wrong in ([1], [SimpleNamespace(stream=1)]):
        with pytest.raises(TypeError):
            compiled.gather([], crowd, wrong)
    with pytest.raises(TypeError):
        compiled.gather((), crowd, [])


class OfTasks(compiled.InFlight):  # type: ignore[misc]
    """The records of a server."""


class Loop:
    """Of which a task runs."""


def test_what_handlers_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which streams are handled since when, and in what order streams began."""
    records = OfTasks(0)
    table = compiled.handled(records)
    assert (table.streams(), table.get(1), table.since(1)) == ([], None, None)
    streams = [direction().stream for _ in range(30)]
    many = [Named("a") for _ in range(100)]
    for at, one in enumerate(many):
        table.put(id(one), streams[at % 20], at / 2)
    assert table.get(id(many[3])) == (streams[3], 1.5)
    assert table.since(id(many[99])) == 49.5
    assert table.streams() == streams[:20] * 5
    table.put(id(many[3]), streams[0], 7.0)
    assert table.get(id(many[3])) == (streams[0], 7.0)
    for wrong in ((), ("", None, 1.0), (1, None, "")):
        with pytest.raises(TypeError):
            table.put(*wrong)
    for method in (table.get, table.since):
        with pytest.raises(TypeError):
            method("")
    with pytest.raises(TypeError):
        type(table)()
    for odd in ((), [1], compiled.TaskEntry):
        with pytest.raises(TypeError):
            compiled.handled(odd)
    for tables in ((), [1], [{1: 2}]):
        with pytest.raises(TypeError):
            compiled.begun(tables)
    before = list(map(sys.getrefcount, streams))
    for _ in range(50):
        compiled.begun([table, table])
    assert list(map(sys.getrefcount, streams)) == before
    since: Any = {id(stream): float(at % 7) for at, stream in enumerate(streams[:20])}
    streams[3].origin = Origin("start", None)
    streams[3].origin.since = -1.0
    look = sight.Sight([])
    teller = inspect_telling.Teller(list(streams), look, inspect_telling.Origins(look.lines), {})
    begun = compiled.handled(records)
    for key, value in since.items():
        begun.put(key, streams[0], value)
    teller._begun, teller._present = begun, 5.0
    in_c = list(teller._in_order())
    assert in_c[0] is streams[3]
    assert [since.get(id(one), 5.0) for one in in_c[1:]] == sorted(
        since.get(id(one), 5.0) for one in in_c[1:]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_which, "compiled", lambda: None)
        teller._streams = list(streams)
        assert teller._in_order() == in_c
    assert compiled.oldest_first([], begun, 1.0, None) is None
    streams[4].origin = SimpleNamespace(since="")
    for arguments in (
        *(([1], begun, 1.0, None), (streams, begun, 1.0, None), ((), begun, 1.0, None)),
        *(([], {}, 1.0, None), ([], begun, 1.0, 1)),
    ):
        with pytest.raises(TypeError):
            compiled.oldest_first(*arguments)
    assert compiled.loops_of(streams) == set()
    with_loops = [direction().stream for _ in range(40)]
    for at, one in enumerate(with_loops):
        one.loop = None if at % 3 else ("a", "b")[at % 2]
    assert compiled.loops_of(with_loops) == {"a", "b"}
    with_loops[30].loop = []
    for wrong_list in (with_loops, [1], ()):
        with pytest.raises(TypeError):
            compiled.loops_of(wrong_list)
    assert compiled.unread(streams, Api.AIO, Side.CLIENT) == streams
    streams[2].read = read = direction()
    assert compiled.unread(streams, Api.AIO, Side.CLIENT) == [*streams[:2], *streams[3:]]
    assert compiled.unread(streams, Api.SYNC, Side.CLIENT) == []
    del read
    for arguments in (([1], 1, 1), ((), 1, 1), ()):
        with pytest.raises(TypeError):
            compiled.unread(*arguments)
