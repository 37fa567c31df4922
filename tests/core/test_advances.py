"""The compiled sync operations beside those in Python: one schedule for both, and the same reports."""

from __future__ import annotations

import copy
import dataclasses
import gc
import heapq
import inspect
import itertools
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from time import monotonic
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import (
    Direction,
    Mode,
    Stream,
    core_advances,
    core_fields,
    core_which,
    findings_stacks,
    frames_of_threads,
    key_of,
    ledger,
    owner_of,
    steps,
)
from support.operating import MESSAGE, Plain, client_next, server_sender, sync_stream
from support.staging import PATIENCE, Gate, in_thread

import grpc_guard
from grpc_guard import ConcurrencyError, Finding, Owner

compiled: Any = core_which.compiled()
needs_compiled = pytest.mark.skipif(compiled is None, reason="needs the compiled core")

NAMES = ["ann", "bob", "cid"]
KINDS: dict[str, Any] = {
    "reading_responses": steps.Responses,
    "reading_requests": steps.Requests,
    "taking_requests": steps.ClientRequests,
    "taking_responses": steps.HandlerResponses,
    "sending_responses": steps.SentResponses,
}


@pytest.fixture(autouse=True)
def nobody_counts_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_fields, "counting", False)


@pytest.fixture(autouse=True)
def requests_come_from_a_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kind of request iterator may be shared by RPCs: nobody is refused there."""
    monkeypatch.setattr(steps.ClientRequests, "asks_program", False)


class BrokenError(Exception):
    """An operation failed."""


def of_python(kind: type, *bases: type) -> Any:
    """Return the twin of a class that stands on the fields in Python."""
    names = {name: value for name, value in vars(kind).items() if name != "__weakref__"}
    return type(kind.__name__, bases, names)


PYTHON_STREAM = of_python(Stream, core_fields.StreamFields)
PYTHON_DIRECTION = of_python(steps.SyncDirection, Direction, core_fields.SyncFields)


class World:
    """One stream of one core, whose operations are done by threads, and what is seen of them."""

    def __init__(self, core: ModuleType, kind: str, mode: Mode) -> None:
        is_python = core is core_advances
        of_stream = PYTHON_STREAM if is_python else Stream
        of_direction = of_python(KINDS[kind], PYTHON_DIRECTION) if is_python else KINDS[kind]
        self.mode = mode
        self.stream = of_stream("/a/b", "client" if "client" in kind else "server", "sync", mode)
        self.direction = of_direction(self.stream, steps.IteratorFromFunction(self.step))
        advance = getattr(core, kind)(self.direction)
        self.operate = (lambda: advance(MESSAGE)) if kind == "sending_responses" else advance
        # No queue itself: what many may use has one.
        events = SimpleQueue[tuple[Any, ...]]()
        orders = {name: SimpleQueue[Any]() for name in NAMES}
        self.tell, self.next_event = events.put, events.get
        self.give = {name: each.put for name, each in orders.items()}
        self.order = {name: each.get for name, each in orders.items()}
        self.inside: list[str] = []
        self.waiting: list[str] = []
        self.threads: list[threading.Thread] = []

    def step(self, *response: object) -> object:
        name = threading.current_thread().name
        tell, order = self.tell, self.order[name]
        # On one line: where the party stands does not depend on how far it has come.
        what = (tell(("inside", name)), order(timeout=PATIENCE))[1]
        if what is not MESSAGE:
            raise what
        return what

    def take(self, finding: Finding) -> None:
        grpc_guard.clear_findings()  # of equal findings only the first would be told in full
        self.tell(("found", finding))

    def run(self) -> None:
        name = threading.current_thread().name
        try:
            self.tell(("ended", name, self.operate()))
        except (ConcurrencyError, BrokenError, StopIteration) as error:
            self.tell(("ended", name, type(error)))

    def until(self, *last: tuple[str, str]) -> list[Any]:
        """Return what happens until all of `last` has, in an order that is always the same."""
        happened = []
        left = set(last)
        while left:
            event = self.next_event(timeout=PATIENCE)
            happened.append(event)
            left.discard(event[:2])
            if event[0] == "found":
                if self.mode is Mode.SERIALIZE and event[1].rule.waitable:
                    left.clear()
            elif event[0] == "ended" and event[1] not in self.inside:  # refused
                left.clear()
        return sorted(map(described, happened), key=repr)

    def begin(self, name: str) -> Any:
        if name in self.inside or name in self.waiting:
            return None
        if self.inside and self.stream.ended and self.mode is Mode.SERIALIZE:
            return None  # it would wait, and nobody would be told
        thread = threading.Thread(target=self.run, name=name, daemon=True)
        self.threads.append(thread)
        thread.start()
        happened = self.until(("inside", name))
        if ("inside", name) in happened:
            self.inside.append(name)
        elif not any(event[0] == "ended" for event in happened):
            self.waiting.append(name)
        return happened, self.seen()

    def end(self, name: str, what: object) -> Any:
        if name not in self.inside:
            return None
        last = [("ended", name)]
        if self.waiting:
            self.inside.append(self.waiting.pop(0))
            last.append(("inside", self.inside[-1]))
        self.give[name](what)
        happened = self.until(*last)
        self.inside.remove(name)
        return happened, self.seen()

    def end_handler(self) -> Any:
        if not self.waiting:  # they would be refused, one after the other
            self.stream.ended = True
        return self.seen()

    def seen(self) -> Any:
        return self.direction.is_free, self.stream.ended, described(owner_of(self.direction))

    def finish(self) -> None:
        while self.inside:
            self.end(self.inside[0], MESSAGE)
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


def described(one: Any) -> Any:
    """Return a finding, or what is in it, without what no two runs have in common."""
    if isinstance(one, tuple):
        return tuple(map(described, one))
    if isinstance(one, Finding):
        message = re.sub(r"[0-9.]+ m?s\b", "some s", one.message)
        parties = {"caller": described(one.caller), "owner": described(one.owner)}
        return dataclasses.replace(one, message=message, time="", **parties)
    if isinstance(one, Owner):
        return dataclasses.replace(one, held_seconds=None)
    return one


ACTS: list[tuple[Any, ...]] = [
    *(("begin", name) for name in NAMES * 2),
    *(("end", name, what) for name in NAMES for what in (MESSAGE, BrokenError, StopIteration)),
    ("end_handler",),
]


@needs_compiled
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_operations_beside_those_in_python(kind: str) -> None:
    """Whatever threads do in a direction, both cores answer, find and report the same."""
    outcomes: list[Any] = []

    @settings(max_examples=50, deadline=None, database=None, derandomize=True)
    @given(
        st.sampled_from([Mode.RAISE, Mode.WARN, Mode.SERIALIZE]),
        st.lists(st.sampled_from(ACTS), min_size=6, max_size=14),
    )
    def drive(mode: Mode, acts: list[Any]) -> None:
        told: list[list[Any]] = []
        for core in (core_advances, compiled):
            world = World(core, kind, mode)
            ledger.add_sink(world.take)
            try:
                told.append([getattr(world, act)(*args) for act, *args in acts])
            finally:
                world.finish()
                ledger.remove_sink(world.take)
                grpc_guard.clear_findings()
        assert told[0] == told[1]
        outcomes.append(told[0])

    drive()
    assert "concurrent-" in repr(outcomes)


# As what a program sees them, on each core


def test_an_operation_as_a_function() -> None:
    """What stands in the slot has a name and a signature, can be referenced weakly, and can be copied."""
    subject = client_next(Plain(), sync_stream(Mode.RAISE))
    send = server_sender(Plain(), sync_stream(Mode.RAISE)).proxy
    advance = subject.proxy.__next__
    assert (advance.__name__, send.__name__) == ("advance", "advance")
    assert advance.__qualname__ == "_claiming.<locals>.advance"
    assert send.__qualname__ == "_sending.<locals>.advance"
    assert advance.__self__ is steps.direction_of(advance)
    assert send.__self__ is steps.direction_of(send)
    assert list(inspect.signature(advance).parameters) == []
    assert list(inspect.signature(send).parameters) == ["response"]
    assert str(core_advances.signature_of("response")) == "(response)"
    for operate in (advance, send):
        assert steps.direction_of(copy.copy(operate)) is operate.__self__
        assert steps.direction_of(copy.deepcopy(operate)) is operate.__self__
    assert weakref.ref(advance)() is advance
    assert advance() == MESSAGE
    assert send(response=MESSAGE) is None
    for wrong in (lambda: advance(1), send, lambda: send(1, 2), lambda: send(x=1)):
        with pytest.raises(TypeError, match=r"advance\(\)"):
            wrong()


def test_an_operation_in_a_merge() -> None:
    """heapq.merge() goes on with the last iterator by its __next__ alone."""
    odd = client_next(iter((1, 3, 5, 7)), sync_stream(Mode.RAISE)).proxy
    even = client_next(iter((2, 4)), sync_stream(Mode.RAISE)).proxy
    assert list(heapq.merge(odd, even)) == [1, 2, 3, 4, 5, 7]


def test_next_that_a_program_has_replaced() -> None:
    """Who calls the method gets what a program or a mock has put on the object, as without the guard.

    next() asks the type, without the guard and with the compiled core; that in Python cannot
    tell one from the other.
    """

    class Own(Plain):
        """Of a class that no other test has changed."""

    plain: Any = Own()
    proxy = client_next(plain, sync_stream(Mode.RAISE)).proxy
    assert proxy.__next__() == next(proxy) == MESSAGE
    plain.__next__ = lambda: b"replaced"
    assert proxy.__next__() == plain.__next__() == b"replaced"
    assert next(proxy) == (next(plain) if compiled is not None else b"replaced")
    del plain.__next__
    assert proxy.__next__() == next(proxy) == MESSAGE


def by_a_generator(proxy: Any) -> None:
    def relay() -> Iterator[Any]:
        yield from proxy

    next(relay())


CALLERS: dict[str, Callable[[Any], object]] = {
    "<lambda>": lambda proxy: next(proxy),
    "relay": by_a_generator,
    "call_by_name": lambda proxy: call_by_name(proxy),
    "from_a_loop": lambda proxy: from_a_loop(proxy),
    "through_C": lambda proxy: through_C(proxy),
}


def call_by_name(proxy: Any) -> None:
    proxy.__next__()


def from_a_loop(proxy: Any) -> None:
    for _ in proxy:
        break


def through_C(proxy: Any) -> None:  # noqa: N802
    next(itertools.islice(map(bytes, proxy), 1))


@pytest.mark.parametrize("caller", CALLERS)
def test_the_line_that_asked_for_an_operation(caller: str) -> None:
    """The owner is told with the frame that called, a generator's too, and others inside are not."""

    class Waits(Plain):
        def __iter__(self) -> Any:
            return self

        def __next__(self) -> bytes:
            return gate.park(MESSAGE)

    gate = Gate()
    subject = client_next(Waits(), sync_stream(Mode.RAISE))
    party = in_thread(CALLERS[caller], subject.proxy, name="owner")
    with gate.held():
        owner = owner_of(subject.direction)
    party.result()
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("thread", "owner", "next")
    functions = [frame.function.rpartition(".")[2] for frame in owner.stack]
    assert caller in functions
    assert owner.stack[-1].file == __file__


@needs_compiled
def test_an_operation_that_a_fork_has_left_in_the_parent() -> None:
    """In the child nothing is taken for its caller; in this thread all goes on."""

    class Waits(Plain):
        def __next__(self) -> bytes:
            mine.append(compiled.operations_in_progress())
            if threading.current_thread() is not threading.main_thread():
                return gate.park(MESSAGE)
            compiled.after_fork()
            return MESSAGE

    gate, mine = Gate(), []  # type: ignore[var-annotated]
    left, here = (client_next(Waits(), sync_stream(Mode.RAISE)) for _ in range(2))
    party = in_thread(next, left.proxy)
    with gate.held():
        keys = [
            key_of(frame)
            for frame in findings_stacks.outward(frames_of_threads()[left.direction.owner])
        ]
        assert left.direction.caller in keys
        assert next(here.proxy) == MESSAGE
        assert left.direction in mine[1]
        assert left.direction.caller not in keys
    party.result()
    assert left.direction.caller is here.direction.caller is None


@needs_compiled
def test_the_key_of_what_is_no_frame() -> None:
    with pytest.raises(TypeError, match="takes a frame"):
        key_of(7)  # type: ignore[arg-type]


def test_when_operations_begin() -> None:
    """Each began when it did, or up to a millisecond before; none began before the one before it."""
    guarded = client_next(Plain(), sync_stream(Mode.RAISE))
    latest = 0.0
    for _ in range(2000):
        before = monotonic()
        next(guarded.proxy)
        assert max(latest, before - 0.002) <= guarded.direction.since <= monotonic()
        latest = guarded.direction.since


def numbers() -> Iterator[int]:
    yield 1
    return 7  # type: ignore[misc]


@pytest.mark.parametrize("make", [lambda: iter([1]), numbers, lambda: itertools.repeat(1, 1)])
def test_the_end_of_an_iterator(make: Callable[[], Iterator[int]]) -> None:
    """next() raises what the iterator raises, its value included."""
    plain, guarded = make(), client_next(make(), sync_stream(Mode.RAISE))
    assert next(guarded.proxy) == next(plain) == 1
    with pytest.raises(StopIteration) as expected:
        next(plain)
    with pytest.raises(StopIteration) as raised:
        next(guarded.proxy)
    assert raised.value.args == expected.value.args
    assert guarded.direction.is_free


def test_an_operation_in_a_cycle() -> None:
    """An iterator that holds its own proxy is collected with it."""
    plain = Plain()
    plain.own = client_next(plain, sync_stream(Mode.RAISE)).proxy  # type: ignore[attr-defined]
    gone = weakref.ref(plain)
    del plain
    gc.collect()
    assert gone() is None
