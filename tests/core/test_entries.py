"""The handlers in flight, as both cores note them: the same acts have the same outcome."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from inside import core_entries, core_records, core_which

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


class Thing:
    """A stream, a task, or whatever else can be held weakly."""

    ended = False


class Broken(Thing):
    """A stream that cannot tell."""

    @property
    def ended(self) -> bool:  # type: ignore[override]
        raise ArithmeticError


class Context:
    """A context of a server whose `state` is read, or whose add_callback() returns `tells`."""

    def __init__(self, state: object, tells: object = None) -> None:
        self._state = state
        self.tells = tells

    def add_callback(self, callback: object) -> object:
        if self.tells is KeyError:
            raise KeyError
        return self.tells


def outcome(act: Callable[[], object]) -> object:
    """Return what `act` returns, in words that do not depend on the core, or the type of its error."""
    try:
        result = act()
    except Exception as error:
        return type(error)
    return type(result).__name__ if "Entry" in type(result).__name__ else result


class Driven:
    """The records of one core, and what was done with them."""

    def __init__(self, core: ModuleType) -> None:
        log: list[Any] = []

        class Handlers(core.InFlight):  # type: ignore[name-defined, misc]
            def _follow_other(self, context: Any, entry: Any) -> None:
                log.append(("other", type(context).__name__))
                if context.add_callback(entry) is False:
                    entry()

            def _rpc_ended(self, entry: Any) -> None:
                log.append(("ended", type(entry).__name__))

            def _watch(self) -> None:
                log.append("watch")

        self.core = core
        self.log = log
        self.kind = Handlers

    def told(self) -> list[Any]:
        """Do all that can be done, and return what came of each."""
        thing, task = Thing(), Thing()
        handlers = self.kind(1)
        told = self._entered(handlers, thing, task)
        del task
        return [
            *told,
            *self._unary(handlers),
            *self._streaming(handlers, thing),
        ]

    def _entered(self, handlers: Any, thing: Thing, task: Thing) -> list[Any]:
        core = self.core
        contexts: tuple[Any, ...] = (
            None,
            object(),
            Context(SimpleNamespace(callbacks=[])),
            Context(SimpleNamespace(callbacks=None)),
            Context(SimpleNamespace(callbacks=7), False),
            Context(SimpleNamespace(), True),
            Context(7, KeyError),
            SimpleNamespace(add_callback=lambda entry: False),
            SimpleNamespace(add_callback=lambda entry: entry(1)),
        )
        acts: list[Callable[[], object]] = [
            *(lambda context=context: handlers.enter(thing, context) for context in contexts),  # type: ignore[misc]
            *(
                lambda context=context: handlers.enter_unary("/a/b", context)
                for context in contexts
            ),  # type: ignore[misc]
            lambda: handlers.enter(7),
            lambda: handlers.enter_task(thing, task),
            lambda: handlers.enter_task("/a/b", task),
            lambda: handlers.enter_task("/a/b", None),
            lambda: handlers.enter_task("/a/b", 7),  # cannot be held weakly
            lambda: handlers.enter_task("/a/b", loop=task),
            lambda: handlers.of_tasks(),
            lambda: handlers.of_tasks(7),
            handlers.enter,
            handlers.enter_unary,
            handlers.enter_task,
            lambda: handlers.enter_unary(rpc="/a/b"),
            core.Entry,
            lambda: core.Entry(7),
            lambda: core.Entry(thing)(),
            lambda: core.UnaryEntry("/a/b")(),
            lambda: core.UnaryEntry(rpc="/a/b"),
            lambda: core.TaskEntry("/a/b", 7),
            lambda: core.TaskEntry("/a/b"),
            lambda: core.TaskEntry("/a/b", task=task),
            self.kind,
            lambda: self.kind(size=1),
        ]
        outcomes = [outcome(act) for act in acts]
        return [*outcomes, *self._in_tasks(handlers, thing, task)]

    def _in_tasks(self, handlers: Any, thing: Thing, task: Thing) -> list[Any]:
        def listed() -> list[Any]:
            return [(entry.what, entry.task() is task) for entry in handlers.of_tasks()]

        told = [listed()]  # nobody has kept an entry
        outer, inner = handlers.enter_task(thing, task), handlers.enter_task("/a/b", task)
        told += [[what for what, _ in listed()] == [thing, "/a/b"], listed()[1], inner.what]
        told += [type(inner.since), inner.since >= outer.since, inner.task is weakref.ref(task)]
        del outer
        told.append(listed())
        handlers.__init__(1)  # forgets all
        told.append(listed())
        del inner
        alone = self.core.TaskEntry(7, task)
        return [*told, listed(), alone.what, alone.task() is task]

    def _unary(self, handlers: Any) -> list[Any]:
        entry = handlers.enter_unary("/a/b")
        outcomes = [entry.write, entry.rpc, entry.is_over(), entry.ended, entry.stream() is entry]
        outcomes += [handlers._by_thread[entry.ident] is entry, entry.records() is handlers]
        outcomes += [outcome(entry), entry.is_over(), type(entry.since)]
        entry.ended = True
        other = self.kind(0).enter_unary("/a/b")  # whose records are gone
        return [*outcomes, outcome(entry), outcome(other), other.is_over()]

    def _streaming(self, handlers: Any, thing: Any) -> list[Any]:
        handlers.enter(thing)
        (entry,) = handlers._by_thread.values()
        outcomes = [handlers.of_tasks(), outcome(entry)]
        thing.ended = True
        outcomes.append(outcome(entry))
        thing.__class__ = Broken
        outcomes.append(outcome(entry))
        handlers.enter(Thing())
        (entry,) = handlers._by_thread.values()  # whose stream is gone
        return [*outcomes, outcome(entry)]


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a thing be its own loop and task, and Context the usual class of contexts."""
    monkeypatch.setattr(core_entries, "SERVER_CONTEXT", Context)
    with monkeypatch.context() as patch:
        for module in (core_entries, core_records):
            patch.setattr(module, "current_task", lambda loop: loop)
        core_records._offered()  # tells the compiled core
        yield
    core_records._offered()


def test_compiled_entries_beside_those_in_python() -> None:
    """Whatever is done has the same outcome on both cores, errors included."""
    plain, other = Driven(core_entries), Driven(compiled)
    assert other.told() == plain.told()
    assert other.log == plain.log
    assert ("ended", "Entry") in plain.log
    assert ("ended", "UnaryEntry") in plain.log


def test_compiled_entries_keep_nothing() -> None:
    """What an entry held has as many references afterwards as before."""
    driven, thing = Driven(compiled), Thing()

    def use() -> None:
        driven.told()
        driven.log.clear()
        handlers = driven.kind(0)
        handlers.enter_unary(thing, Context(SimpleNamespace(callbacks=[])))
        handlers.entry = handlers.enter_task(thing, thing)  # which is in a cycle with it
        handlers.itself = handlers

    use()
    gc.collect()
    before = sys.getrefcount(thing)
    for _ in range(100):
        use()
    gc.collect()
    assert sys.getrefcount(thing) == before


def test_compiled_records_of_a_server_that_is_gone() -> None:
    """The records of a server go at once, although each entry knows them."""
    handlers = Driven(compiled).kind(0)
    handlers.enter_unary("/a/b")
    gone = weakref.ref(handlers)
    del handlers
    assert gone() is None
