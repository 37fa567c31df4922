"""Streams as records: the compiled core and the one in Python tell the same of them."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from inside import (
    AioDirection,
    Api,
    GrpcDriven,
    Mode,
    Origin,
    Side,
    Stream,
    Way,
    core_which,
    deductions,
    encoding,
    inspect_telling,
    inspection_pb2,
    note_origin,
    sight,
    steps,
    waits,
)
from support.snapshots import HERE, OWNER
from support.staging import outcome

from grpc_guard.inspection import StreamSnapshot

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


STREAMS = inspection_pb2.Snapshot.DESCRIPTOR.fields_by_name["streams"]


def answered(teller: Any, streams: list[Any], copies: Any = None) -> Any:
    """Return the bytes of these streams, how many each channel carries, their order, and what is told.

    What has not changed since the last answer is taken from `copies`, which have the bytes then.
    """
    of = encoding.encoding_of(StreamSnapshot, STREAMS.message_type)
    carried: dict[int, int] = {}
    order: list[Any] = []
    told: list[Any] = []
    known = teller._look(), of, encoding.tag(STREAMS.number)
    scratch = compiled.Scratch()
    half = len(streams) // 2
    for begin, count in ((0, half), (half, len(streams))):
        compiled.answer_streams(
            *known, streams, begin, count, carried, order, told, scratch, copies
        )
    data = bytes(scratch)
    if copies is not None:
        copies.keep(scratch, compiled.Scratch())
    return data, carried, order, told


def may_wait(described: StreamSnapshot) -> bool:
    """Tell whether a write of a stream may wait for its peer: see _flow_control()."""
    reads, writes = described.read, described.write
    if reads is None or writes is None or reads.owner is not None:
        return False
    held = None if writes.owner is None else writes.owner.held_seconds or 0.0
    return writes.unsent or (held is not None and held >= deductions.MOMENT)


class Call:
    """A call that can be held weakly."""

    ended: Any = False


class Scene:
    """Streams, and what a look has found of them."""

    def __init__(self) -> None:
        self.look = sight.Sight([])
        for table in (self.look.directions, self.look.owners, self.look.waiters):
            table.clear()  # of streams that other tests have left
        self.look.sending.clear()
        self.streams: list[Any] = []
        self.kept: list[Any] = []  # directions and calls, which a stream holds weakly
        self.channel, self.other = SimpleNamespace(), SimpleNamespace()
        self.copies: Any = None

    def stream(self, side: Side = Side.CLIENT, *, mode: Any = Mode.RAISE, loop: Any = None) -> Any:
        stream = Stream("/a.B/C", side, Api.AIO, mode, loop)
        self.streams.append(stream)
        return stream

    def aio(self, *, since: float = 0.0, way: Way = Way.READ, kind: Any = AioDirection) -> Any:
        """Return the direction of a new stream."""
        stream = self.stream(loop=asyncio.get_running_loop())
        direction = kind(stream, way)
        direction.since = since
        setattr(stream, way.value, direction)
        self.kept.append(direction)
        return direction

    def followed(self, stream: Any, *, ended: Any = False) -> Any:
        call = Call()
        call.ended = ended
        self.kept.append(call)
        stream.track_call(call, lambda call: call.ended)
        return call

    def owned(self, direction: Any) -> None:
        self.look.directions[id(direction)] = direction
        self.look.owners[id(direction)] = OWNER

    def teller(self) -> Any:
        numbers = {id(self.channel): 7, id(self.other): 8}
        origins = inspect_telling.Origins(self.look.lines)
        return inspect_telling.Teller(self.streams, self.look, origins, numbers)

    def told(self) -> list[Any]:
        """Return what both cores tell."""
        teller = self.teller()
        found = list(teller._some(self.streams, 10))
        assert compiled.tell_streams(teller._look(), self.streams, 10) == found
        self._answered(teller)
        return [described for described, _, _ in found]

    def _answered(self, teller: Any) -> None:
        """Check that the bytes are those of the records, and what is told beside them."""
        found = list(teller._some(self.streams, 0))
        data, carried, order, told = every = answered(teller, self.streams)
        if self.copies is None:
            self.copies = compiled.Copies()
        for _ in range(2):
            self.copies.begin()
            again = answered(teller, self.streams, self.copies)
            assert again[:3] == every[:3]
            assert [one[1] for one in again[3]] == [one[1] for one in told]
        known, same = self.copies.known()
        assert same <= known <= len(found) - len(told)
        assert data == encoding.Encoder("strict").joined(STREAMS, [one for one, _, _ in found])
        assert order == [stream for _, stream, _ in found]
        numbers = collections.Counter(one.channel for one, _, _ in found)
        assert carried == {number: numbers[number] for number in numbers if number is not None}
        assert [one for one in found if one in told] == told
        assert [one for one in found if may_wait(one[0])] == list(
            filter(lambda one: may_wait(one[0]), told)
        )


async def test_as_in_python() -> None:
    """Whatever a stream is, whoever is inside, and whatever is not known."""
    scene = Scene()
    never, idle, later, taken, owned, both = (scene.aio() for _ in range(6))
    idle.since, later.since = 0.5, scene.look.time + 1e6
    taken.since, taken.taken = later.since, True  # since the look
    idle.owner = weakref.ref(scene)
    written, driven = scene.aio(way=Way.WRITE), scene.aio(way=Way.WRITE, kind=GrpcDriven)
    written.since = driven.since = 1.0
    scene.owned(owned)
    scene.owned(both)
    both.stream.write = scene.aio(way=Way.WRITE)  # of another stream
    never.stream.origin = note_origin("start")
    idle.stream.origin = note_origin("start")
    later.stream.origin = Origin("start", None)
    later.stream.origin.since = scene.look.time + 1e6
    never.stream.channel, idle.stream.channel = scene.channel, SimpleNamespace()
    turns = scene.stream(mode=Mode.SERIALIZE, loop=asyncio.get_running_loop())
    turns.read = AioDirection(turns, Way.READ)  # nothing holds it
    equipped = AioDirection(turns, Way.WRITE)
    turns.write = equipped
    threaded = scene.stream()
    threaded.read = sync = steps.Responses(threaded, iter(()))
    sync.since, sync.owner = 0.5, 1
    without_thread = AioDirection(scene.stream(), Way.WRITE)
    without_thread.stream.write = without_thread
    odd = scene.aio(since=0.5)
    odd.owner = 1
    served = scene.stream(Side.SERVER)
    scene.followed(idle.stream)
    scene.followed(scene.stream(), ended=True)  # over, and nobody is inside
    scene.followed(owned.stream, ended=True)
    for stream, context in ((scene.stream(), Call()), (scene.stream(Side.SERVER), Call())):
        stream.track_context(context, lambda context: context.ended)
    first = scene.told()
    assert len(first) == len(scene.streams) - 1
    by_number = {one.number for one in first}
    assert by_number == set(range(11, 11 + len(first)))
    assert {one.state for one in first} == {"open", "over", "unknown"}
    assert {one.channel for one in first} == {7, None}
    assert served.subject.side == "server"

    scene.look.sending.add(id(None))  # a call that is not there sends
    assert {one.write.unsent for one in scene.told() if one.write} == {True}
    scene.look.waiters[id(owned)] = [(waits.Party.thread(1), OWNER)]
    assert [one.read.waiting for one in scene.told() if one.read and one.read.waiting] == [(OWNER,)]
    scene.look.waiters.clear()
    scene.look.sending.clear()
    crowd = [scene.aio(way=way) for way in (Way.READ, Way.WRITE, Way.WRITE)]
    crowd[2].stream.read = never  # somebody writes, nobody reads
    tasks: Any = [SimpleNamespace(get_name=lambda: "HandleExceptions[/a.B/C]")] * 3
    scene.look.crowd.note(tasks, crowd, "read", (HERE,), True, 2.0)
    many = [scene.aio(since=0.25) for _ in range(20)]  # of two channels, in turns
    for number, one in enumerate(many):
        one.stream.origin = note_origin("start")
        one.stream.channel = (scene.channel, scene.other)[number // 2 % 2]
    many[3].stream.origin = SimpleNamespace(
        since=0.5, place=None, kind="task", name="t", operation="start"
    )
    many[5].stream.origin.since = 1
    del many[7].stream.origin.test_attempt  # nobody asks for it
    alone = scene.aio()
    scene.owned(alone)
    scene.look.owners[id(alone)] = dataclasses.replace(OWNER, held_seconds=None)
    owners = [one.read.owner for one in scene.told() if one.read]
    assert "handler of /a.B/C" in {one.name for one in owners if one is not None}
    scene.look.waiters[id(owned)] = [(waits.Party.thread(1), OWNER)]
    second = AioDirection(owned.stream, Way.READ)
    owned.stream.read = second
    scene.kept.append(second)
    assert [one.read.owner for one in scene.told() if one.read].count(OWNER) == 2


def broken(*_: object) -> Any:
    raise ArithmeticError


class Unlike:
    """Cannot be compared."""

    __eq__ = broken
    __hash__ = None  # type: ignore[assignment]


def _bare(scene: Scene) -> None:
    scene.streams.append(Stream.__new__(Stream))


def _no_stream(scene: Scene) -> None:
    scene.streams.append(SimpleNamespace(origin=None, channel=None))


def _side(scene: Scene) -> None:
    scene.stream().side = Unlike()


def _text(scene: Scene) -> None:
    scene.stream(Side.SERVER).mode = 1


def _truth(scene: Scene) -> None:
    scene.followed(scene.stream(), ended=SimpleNamespace())
    scene.streams[-1]._has_ended = broken


def _origin(missing: str) -> Callable[[Scene], None]:
    def spoil(scene: Scene) -> None:
        fields = {"since": 1.0, "place": None, "kind": "", "name": "", "operation": ""}
        fields.pop(missing, None)
        scene.stream().origin = SimpleNamespace(**fields)

    return spoil


def _place(scene: Scene) -> None:
    scene.stream().origin = SimpleNamespace(since=1.0, place=(1, 2), kind="", name="", operation="")


@pytest.mark.parametrize(
    "spoil",
    [
        *(_bare, _no_stream, _side, _text, _truth, _place),
        *map(_origin, ("since", "place", "kind", "name", "operation")),
    ],
)
def test_what_goes_wrong(spoil: Callable[[Scene], None]) -> None:
    """It goes as wrong in the compiled core."""
    scene = Scene()
    usual = scene.stream(Side.SERVER)
    teller = scene.teller()
    spoil(scene)
    errors = []
    for tell in (
        lambda: list(teller._some(scene.streams, 0)),
        lambda: compiled.tell_streams(teller._look(), scene.streams, 0),
        lambda: answered(teller, scene.streams),
    ):
        with pytest.raises((ArithmeticError, AttributeError, TypeError)) as raised:
            tell()
        errors.append(raised.type)
    assert errors[0] is errors[1] is errors[2]
    assert usual is scene.streams[0]


def test_what_it_takes() -> None:
    """No other tables, makers and classes than those of a look."""
    scene = Scene()
    scene.stream(Side.SERVER)
    look = scene.teller()._look()
    assert len(compiled.tell_streams(look, scene.streams, 0)) == 1
    for at, wrong in ((4, len), (4, look[5]), (7, {}), (10, {}), (12, int), (15, 1)):
        with pytest.raises(TypeError):
            compiled.tell_streams((*look[:at], wrong, *look[at + 1 :]), scene.streams, 0)
    for arguments in ((), (look, 1, 0), ([], scene.streams, 0)):
        with pytest.raises(TypeError):
            compiled.tell_streams(*arguments)
    of = encoding.encoding_of(StreamSnapshot, STREAMS.message_type)
    owners = encoding.encoding_of(type(OWNER), inspection_pb2.Party.DESCRIPTOR)
    scratch = compiled.Scratch()
    rest: Any = 0, 9, {}, [], [], scratch, None
    odd: Any = [SimpleNamespace()]
    for arguments in (
        (),
        (look, owners, b"", scene.streams, *rest),
        (look, of, b"", 1, *rest),
        (look, of, b"", scene.streams, *rest[:5], bytearray(), None),
        (look, of, b"", scene.streams, *rest[:6], scratch),
        ((*look[:7], 1, *look[8:]), of, b"", scene.streams, *rest),
        ((len, lambda _: 1, *look[2:]), of, b"", odd, *rest),
        ((lambda *_: 1, *look[1:]), of, b"", odd, *rest),
    ):
        with pytest.raises(TypeError):
            compiled.answer_streams(*arguments)
    with pytest.raises(ValueError, match="a tag is"):
        compiled.answer_streams(look, of, b"123456789", scene.streams, *rest)
    with pytest.raises(ValueError, match="no such streams"):
        compiled.answer_streams(look, of, b"", scene.streams, -1, *rest[1:])


def test_memory_that_is_used_again() -> None:
    """Nobody writes while somebody looks at it, or somebody else writes."""
    scene = Scene()
    scene.stream(Side.SERVER)
    look = scene.teller()._look()
    of = encoding.encoding_of(StreamSnapshot, STREAMS.message_type)
    scratch = compiled.Scratch()
    assert bytes(scratch) == b""
    tables: Any = {}, [], []
    known: Any = of, b"", scene.streams, 0, 9, *tables, scratch, None
    compiled.answer_streams(look, *known)
    once = bytes(scratch)
    assert len(once) > 10
    with memoryview(scratch) as view:
        assert view.readonly
        for act in (scratch.clear, lambda: compiled.answer_streams(look, *known)):
            with pytest.raises(BufferError):
                act()
        with pytest.raises(BufferError):
            compiled.handlers_in_order(scratch, compiled.Scratch())
    seen: list[Any] = []

    def look_at_it(stream: Any, number: int) -> None:
        for act in (scratch.clear, lambda: bytes(scratch), lambda: memoryview(scratch)):
            seen.append(outcome(act))
        seen.append(outcome(compiled.answer_streams, look, *known))

    odd = look_at_it, *look[1:]
    compiled.answer_streams(odd, of, b"", [SimpleNamespace()], 0, 9, *tables, scratch, None)
    assert len(seen) == 4
    assert all("BufferError" in repr(one) for one in seen)
    assert bytes(scratch) == once
    scratch.clear()
    assert bytes(scratch) == b""
    for wrong in ((1,), (None,)):
        with pytest.raises(TypeError):
            compiled.Scratch(*wrong)


async def test_nothing_is_kept() -> None:
    """Of what was told, and of what went wrong."""
    scene = Scene()
    direction = scene.aio()
    scene.owned(direction)
    stream = direction.stream
    stream.origin = note_origin("start")
    look = scene.teller()._look()
    compiled.tell_streams(look, scene.streams, 0)  # from now on lines and numbers are known
    things = direction, stream, stream.origin, stream.origin.place, OWNER, look, *look[4:12]
    before = list(map(sys.getrefcount, things))
    teller = scene.teller()
    for _ in range(100):
        compiled.tell_streams(look, scene.streams, 0)
        outcome(compiled.tell_streams, look, [*scene.streams, None], 0)
        answered(teller, scene.streams)
        outcome(answered, teller, [*scene.streams, None])
    kept = [now - then for now, then in zip(map(sys.getrefcount, things), before, strict=True)]
    assert max(kept) < 100
