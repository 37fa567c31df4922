"""The compiled records beside those in Python: they do the same, driven in the same way."""

from __future__ import annotations

import gc
import itertools
import sys
import weakref
from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import Mode, core_fields, core_which
from support import hardship

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


@pytest.fixture(autouse=True)
def nobody_counts_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equip only streams in mode ``serialize``, whatever an earlier test has switched on."""
    monkeypatch.setattr(core_fields, "counting", False)


class Thing:
    """Whatever a record holds."""


def done(act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what `act` returns, or the type of what it raises."""
    try:
        return act(*args, **kwargs)
    except Exception as error:
        return type(error)


class Driven:
    """A stream and its directions of one core, and the things that they were given."""

    def __init__(self, core: ModuleType, things: list[Any]) -> None:
        log = self.log = []  # type: ignore[var-annotated]

        class Stream(core.StreamFields):  # type: ignore[name-defined, misc]
            __slots__ = ()

        class Sync(core.SyncFields):  # type: ignore[name-defined, misc]
            __slots__ = ()

            def _equip(self) -> None:
                log.append("equip")
                self._extra = things[0]

        class Aio(core.AioFields):  # type: ignore[name-defined, misc]
            __slots__ = ()

            def _equip(self) -> None:
                log.append("equip")

        self.things = things
        self.kinds = {"stream": Stream, "sync": Sync, "aio": Aio}
        self.made: dict[str, Any] = {}  # the last of each kind
        self.numbers: MutableMapping[Any, int] = weakref.WeakKeyDictionary()  # of all that live
        self.number = itertools.count()

    def act(self, what: str, mode: Mode, thing: int, name: str) -> Any:
        value, made = self.things[thing], self.made
        if what == "stream":
            made["stream"] = self.kinds["stream"]("/a/b", "client", "sync", mode, value)
            self.numbers[made["stream"]] = next(self.number)
            return None
        stream = made.get("stream")
        if what in ("sync", "aio"):
            if stream is None:  # refused, each core in its own words
                return None
            args = (stream, value) if what == "sync" else (stream, "read", value)
            direction = done(self.kinds[what], *args)
            if isinstance(direction, type):
                made[what] = None
                return direction
            made[what] = direction
            self.numbers[direction] = next(self.number)
            return None
        subject = made.get("sync") if thing % 2 else stream
        if what == "get":
            return self._named(done(getattr, subject, name))
        if what == "set":
            return done(setattr, subject, name, value)
        if what == "delete":
            return done(delattr, subject, name)
        track = getattr(stream, what, None)
        return None if track is None else done(track, value, len)

    def _named(self, value: Any) -> Any:
        """Return `value` in words that do not depend on the core."""
        if type(value) in self.kinds.values():
            return self.numbers[value]
        if isinstance(value, weakref.ref):
            return "reference", self._named(value())
        return value


FIELDS = sorted(
    {*core_fields.StreamFields.__slots__, *core_fields.SyncFields.__slots__} - {"__weakref__"}
)
ACTS = [
    "stream",
    "sync",
    "aio",
    "get",
    "get",
    "set",
    "delete",
    "track_call",
    "track_context",
]
ACT = st.tuples(
    st.sampled_from(ACTS),
    st.sampled_from([Mode.RAISE, Mode.SERIALIZE]),
    st.integers(0, 4),
    st.sampled_from([*FIELDS, "read", "write", "nothing"]),
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.lists(ACT, max_size=30))
def test_compiled_records_beside_those_in_python(acts: list[Any]) -> None:
    """Whatever is done to a stream and its directions has the same outcome on both cores."""
    things = [Thing(), 7, None, Thing(), lambda: None]
    plain, other = Driven(core_fields, things), Driven(compiled, things)
    for act in acts:
        assert other.act(*act) == plain.act(*act), act
    assert other.log == plain.log


def test_compiled_records_in_a_cycle() -> None:
    """A cycle of records is collected, and a record alone goes at once."""
    stream = compiled.StreamFields("/a/b", "client", "sync", Mode.RAISE)
    gone = weakref.ref(stream)
    del stream
    assert gone() is None
    stream = compiled.StreamFields("/a/b", "client", "sync", Mode.RAISE)
    stream.origin = compiled.SyncFields(stream, None)
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None


def test_compiled_records_keep_nothing() -> None:
    """What a record held has as many references afterwards as before."""
    thing = Thing()

    def use() -> None:
        stream = compiled.StreamFields(thing, thing, thing, thing, thing)
        stream.track_call(thing, thing)
        stream.track_context(thing, thing)
        direction = compiled.SyncFields(stream, thing)
        stream.read = stream.write = direction
        assert stream.read is stream.write is direction
        done(compiled.SyncFields, thing, thing)
        done(compiled.AioFields, thing, thing)
        done(compiled.AioFields, stream, thing, thing)
        done(compiled.StreamFields)

    use()
    before = sys.getrefcount(thing)
    for _ in range(1000):
        use()
    assert sys.getrefcount(thing) == before


def test_what_outlives_its_module() -> None:
    """What is found by the collector together with the compiled core goes after it, without a word."""
    gone: Any = hardship.outlived(compiled)()
    assert gone() is None


@pytest.mark.parametrize("core", [core_fields, compiled], ids=["py", "c"])
def test_directions_are_held_weakly(core: Any) -> None:
    """A stream knows its directions as long as somebody else holds them."""
    stream = core.StreamFields("/a/b", "client", "sync", Mode.RAISE)
    assert stream.read is stream.write is None
    direction = core.SyncFields(stream, None)
    stream.read = stream.write = direction
    assert stream.read is stream.write is direction
    del direction
    assert stream.read is stream.write is None
