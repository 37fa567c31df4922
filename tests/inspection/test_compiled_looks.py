"""What the compiled core does of a look, beside the core in Python: tasks, chains, who is inside."""

from __future__ import annotations

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


class Future:
    """What a task waits for."""


def recall(memory: Any, references: list[Any], *, in_python: bool) -> Any:
    memory._is_kept, memory._after, memory._waited = True, {}, {}
    fresh: list[Any] = []
    find = memory.recalled_in_python if in_python else memory.recalled
    found = [tuple(map(list, part[1:])) for part in find(references, fresh)]
    return found, fresh, memory._after, memory._waited


def test_tasks_are_recalled_as_in_python() -> None:
    """Those that wait for the same future, by their standing; of the others, those of the loops."""
    one, other = (remembered.Standing(None, name) for name in ("read", "write"))
    futures = [Future() for _ in range(20)]
    of_another = Waiting(futures[7], object())
    tasks: list[Any] = [*map(Waiting, futures), Waiting(None), Bare(), of_another]
    tasks += [Waiting(None, is_done=True), of_another, Waiting(None)]
    directions = [Future() for _ in range(2)]
    gone, waited = weakref.ref(Future()), [weakref.ref(one) for one in futures]
    references: list[Any] = [*map(weakref.ref, tasks), gone]
    before = {
        references[0]: (waited[0], one, weakref.ref(directions[0])),
        references[1]: (waited[1], other, None),
        references[2]: (waited[2], one, weakref.ref(directions[1])),
        references[3]: (waited[3], remembered.NOWHERE, None),
        references[4]: (waited[0], one, None),
        references[5]: (gone, one, None),
        references[6]: (waited[6], one, gone),
        references[len(futures)]: (waited[7], one, None),
    }
    memory = remembered.Memory({LOOP})
    memory._before = before
    found = recall(memory, references, in_python=False)
    assert found == recall(memory, references, in_python=True)
    assert found[0] == [([tasks[0], tasks[2]], directions), ([tasks[1]], [])]
    assert found[1] == [*tasks[4 : len(futures) + 2], tasks[-1]]
    assert list(found[2]) == references[:4]
    things = *tasks, *futures, *directions, *before.values(), one, other, before, *references
    assert unchanged_references(lambda: recall(memory, references, in_python=False), *things)


class Strange(Waiting):
    """A task that says neither what it waits for nor whether it is done."""

    _fut_waiter = property(broken)  # type: ignore[assignment]

    def __init__(self) -> None:
        pass


def test_what_cannot_be_recalled() -> None:
    """What went wrong is told."""
    task, strange = Waiting(Future()), Strange()
    ref, future = weakref.ref(task), weakref.ref(task._fut_waiter)
    tables = {ref: (future, "", None)}, {}, {}
    said = None, "_fut_waiter"
    assert len(compiled.recalled([ref], {LOOP}, [], *tables, *said)) == 1
    for known in (1, (1, 2), (broken, "", None), (future, "", broken)):
        with pytest.raises((TypeError, ArithmeticError)):
            compiled.recalled([ref], {LOOP}, [], {ref: known}, {}, {}, *said)
    assert compiled.recalled([lambda: None], {LOOP}, [], *tables, *said) == []
    for odd in (broken, weakref.ref(strange), lambda: 1):
        with pytest.raises((ArithmeticError, AttributeError)):
            compiled.recalled([odd], {LOOP}, [], *tables, *said)
    for spoil in ("get_loop", "done"):
        spoiled: Any = Waiting(None)
        setattr(spoiled, spoil, broken)
        with pytest.raises(ArithmeticError):
            compiled.recalled([weakref.ref(spoiled)], {LOOP}, [], *tables, *said)
    unknown = Waiting(None, is_done=Unknown())  # type: ignore[arg-type]
    unhashable = Waiting(None, [])
    for one, error in ((unknown, ArithmeticError), (unhashable, TypeError)):
        with pytest.raises(error):
            compiled.recalled([weakref.ref(one)], {LOOP}, [], *tables, *said)
    for wrong in ((), (1, {LOOP}, [], *tables, *said), ([ref], [LOOP], [], *tables, *said)):
        with pytest.raises(TypeError):
            compiled.recalled(*wrong)


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
    odd = [Named("H"), Named(1), SimpleNamespace(get_name=broken)]  # type: ignore[arg-type]
    for nameless, error in zip(odd, (ArithmeticError, TypeError, ArithmeticError), strict=True):
        crowd.note([nameless], [one], *said)
        with pytest.raises(error):
            crowd.owner(one)


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
    streams, strays = noting.gathered(listed, crowd, [single])
    every = [*listed[:2], written.stream, stray.stream, *(one.stream for one in many[1:])]
    assert streams == [*every, single.stream]
    assert strays == [stray, single]
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    assert noting.gathered(listed, crowd, [single])[0] == streams
    monkeypatch.undo()
    for wrong in ([1], [SimpleNamespace(stream=1)]):
        with pytest.raises(TypeError):
            compiled.gather([], crowd, wrong)
    with pytest.raises(TypeError):
        compiled.gather((), crowd, [])


def test_what_handlers_say() -> None:
    """Which streams are handled since when, and in what order streams began."""
    task = Named("a")
    entries: list[Any] = [compiled.TaskEntry(direction().stream, task) for _ in range(2)]
    served = entries[1].what
    assert compiled.handled(entries) == {id(task): (served, entries[1].since)}
    assert compiled.handled([*entries, compiled.TaskEntry("/a.B/C", task)]) == {}
    served.ended = True
    assert compiled.handled(entries)[id(task)][0] is entries[0].what
    gone = SimpleNamespace(task=lambda: None, what=served, since=1.0)
    assert compiled.handled([gone]) == {}
    served.ended = Unknown()
    for wrong in ((), [1], [SimpleNamespace(task=broken, what=1, since=1)], entries):
        with pytest.raises((TypeError, AttributeError, ArithmeticError)):
            compiled.handled(wrong)
    for tables in ((), [1], [{1: 2}], [{1: (2,)}]):
        with pytest.raises(TypeError):
            compiled.begun(tables)
    streams = [direction().stream for _ in range(30)]
    since: Any = {id(stream): float(at % 7) for at, stream in enumerate(streams[:20])}
    streams[3].origin = Origin("start", None)
    streams[3].origin.since = -1.0
    look = sight.Sight([])
    teller = inspect_telling.Teller(streams, look, inspect_telling.Origins(look.lines), {})
    teller._begun, teller._present = since, 5.0
    in_c = teller._in_order()
    assert in_c[0] is streams[3]
    assert [since.get(id(one), 5.0) for one in in_c[1:]] == sorted(
        since.get(id(one), 5.0) for one in in_c[1:]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_which, "compiled", lambda: None)
        assert teller._in_order() == in_c
    assert compiled.oldest_first([], {}, 1.0) == []
    for wrong in (([1], {}, 1.0), (streams, {id(streams[5]): ""}, 1.0), ((), {}, 1.0)):
        with pytest.raises(TypeError):
            compiled.oldest_first(*wrong)
