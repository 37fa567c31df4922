"""What the compiled core does of a look, beside the core in Python: tasks, chains, who is inside."""

from __future__ import annotations

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
    Side,
    Stream,
    Way,
    core_which,
    inspect_records,
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


class Waiting:
    """A task."""

    def __init__(self, future: object) -> None:
        self._fut_waiter = future


class Future:
    """What a task waits for."""


def recall(memory: Any, tasks: list[Any], *, in_python: bool) -> Any:
    memory._is_kept, memory._after, memory._waited = True, {}, {}
    fresh: list[Any] = []
    find = memory.recalled_in_python if in_python else memory.recalled
    found = [tuple(map(list, part[1:])) for part in find(tasks, fresh)]
    waited = {id(task): memory._waited[id(task)] for task in fresh}
    return found, fresh, memory._after, waited


def test_tasks_are_recalled_as_in_python() -> None:
    """Those that wait for the same future, by their standing."""
    one, other = (remembered.Standing(None, name) for name in ("read", "write"))
    futures = [Future() for _ in range(8)]
    tasks: list[Any] = [*map(Waiting, futures), Waiting(None), SimpleNamespace()]
    directions = [Future() for _ in range(2)]
    gone, elsewhere = weakref.ref(Future()), weakref.ref(futures[0])
    refs = [(weakref.ref(task), weakref.ref(task._fut_waiter)) for task in tasks[:8]]
    before = {
        id(tasks[0]): (*refs[0], one, weakref.ref(directions[0])),
        id(tasks[1]): (*refs[1], other, None),
        id(tasks[2]): (*refs[2], one, weakref.ref(directions[1])),
        id(tasks[3]): (*refs[3], remembered.NOWHERE, None),
        id(tasks[4]): (refs[4][0], elsewhere, one, None),
        id(tasks[5]): (gone, refs[5][1], one, None),
        id(tasks[6]): (refs[6][0], gone, one, None),
        id(tasks[8]): (*refs[7], one, None),
    }
    memory = remembered.Memory()
    memory._before = before
    found = recall(memory, tasks, in_python=False)
    assert found == recall(memory, tasks, in_python=True)
    assert found[0] == [([tasks[0], tasks[2]], directions), ([tasks[1]], [])]
    assert found[1] == tasks[4:]
    assert set(found[2]) == set(map(id, tasks[:4]))
    things = *tasks, *futures, *directions, *before.values(), one, other, before
    assert unchanged_references(lambda: recall(memory, tasks, in_python=False), *things)


class Strange:
    """A task that does not say what it waits for."""

    _fut_waiter = property(broken)


def test_what_cannot_be_recalled() -> None:
    """What went wrong is told."""
    task = Waiting(Future())
    ref, future = weakref.ref(task), weakref.ref(task._fut_waiter)
    tables = {id(task): (ref, future, "", None)}, {}, {}
    assert len(compiled.recalled([task], [], *tables, None, "_fut_waiter")) == 1
    for known in (1, (1, 2), (broken, future, "", None), (ref, broken, "", None)):
        with pytest.raises((TypeError, ArithmeticError)):
            compiled.recalled([task], [], {id(task): known}, {}, {}, None, "_fut_waiter")
    with pytest.raises(ArithmeticError):
        odd = {id(task): (ref, future, "", broken)}
        compiled.recalled([task], [], odd, {}, {}, None, "_fut_waiter")
    with pytest.raises(ArithmeticError):
        compiled.recalled([Strange()], [], *tables, None, "_fut_waiter")
    for wrong in ((), (1, [], *tables, None, "_fut_waiter")):
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


def test_owners_are_noted_as_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their names, and for how long they have been inside."""
    look = sight.Sight([])
    tasks: list[Any] = [Named("a"), Named("HandleExceptions[/a.B/C]"), Named("Hand")]
    inside: list[Any] = [direction() for _ in tasks]
    inside[0].since, inside[1].since = look.time - 1.5, look.time + 1.0

    def noted(standing: Any) -> Any:
        tables = look.directions, look.holders, look.owners
        for table in tables:
            table.clear()
        look._note_together(tasks, standing, inside)
        return tuple(map(dict, tables))

    standings = [remembered.Standing(None, "read", (HERE,), is_timed) for is_timed in (True, False)]
    in_c = list(map(noted, standings))
    assert [one.held_seconds for one in in_c[0][2].values()] == [1.5, 0.0, look.time]
    assert [one.name for one in in_c[0][2].values()] == ["a", "handler of /a.B/C", "Hand"]
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    assert list(map(noted, standings)) == in_c
    monkeypatch.undo()
    things = *tasks, *inside, HERE, standings[0].stack
    assert unchanged_references(lambda: noted(standings[0]), *things)


def test_directions_that_their_streams_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are kept for a look at each; a stream that nobody lists is added."""
    look = sight.Sight([])
    known, written, stray = (direction() for _ in range(3))
    known.stream.read, written.stream.write = known, written
    look.directions.clear()
    assert list(look.strays) == []
    look.directions.update({id(one): one for one in (known, written, stray)})
    assert list(look.strays) == [known, written, stray]
    listed = [known.stream, direction().stream]
    found = look.streams_among(listed)
    assert list(look.strays) == [stray]
    assert found == [*listed, written.stream, stray.stream]
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    assert look.streams_among(listed) == found


def test_who_cannot_be_noted() -> None:
    """What went wrong is told."""
    one, task = direction(), Named("a")
    new_owner = inspect_records.new_owner
    said = "task", "read", (), "inside", True, 1.0
    for names, inside, make, error in (
        (["a"], [SimpleNamespace()], new_owner, AttributeError),
        (["a"], [SimpleNamespace(since="")], new_owner, TypeError),
        (["a"], [one, one], new_owner, ValueError),
        ([], [one], new_owner, ValueError),
        (["a"], [one], compiled.Maker(type(HERE), ("line",)), TypeError),
        (("a",), [one], new_owner, TypeError),
    ):
        with pytest.raises(error):
            compiled.note_owners([task], names, inside, make, *said, {}, {}, {})
    for inside in ([SimpleNamespace()], [SimpleNamespace(stream=SimpleNamespace())]):
        with pytest.raises(AttributeError):
            compiled.strays(inside, {})
    with pytest.raises(TypeError):
        compiled.strays((), {})
