"""Streams as records: the compiled core and the one in Python tell the same of them."""

from __future__ import annotations

import asyncio
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
    inspect_telling,
    note_origin,
    sight,
    steps,
)
from support.snapshots import OWNER
from support.staging import outcome

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


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
        self.channel = SimpleNamespace()

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
        numbers = {id(self.channel): 7}
        origins = inspect_telling.Origins(self.look.lines)
        return inspect_telling.Teller(self.streams, self.look, origins, numbers)

    def told(self) -> list[Any]:
        """Return what both cores tell."""
        teller = self.teller()
        found = list(teller._some(self.streams, 10))
        assert compiled.tell_streams(teller._look(), self.streams, 10) == found
        return [described for described, _, _ in found]


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
    scene.look.waiters[id(owned)] = [(sight.Party.thread(1), OWNER)]
    assert [one.read.waiting for one in scene.told() if one.read and one.read.waiting] == [(OWNER,)]
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
    ):
        with pytest.raises((ArithmeticError, AttributeError, TypeError)) as raised:
            tell()
        errors.append(raised.type)
    assert errors[0] is errors[1]
    assert usual is scene.streams[0]


def test_what_it_takes() -> None:
    """No other tables, makers and classes than those of a look."""
    scene = Scene()
    scene.stream(Side.SERVER)
    look = scene.teller()._look()
    assert len(compiled.tell_streams(look, scene.streams, 0)) == 1
    for at, wrong in ((4, len), (4, look[5]), (7, []), (11, int), (14, 1)):
        with pytest.raises(TypeError):
            compiled.tell_streams((*look[:at], wrong, *look[at + 1 :]), scene.streams, 0)
    for arguments in ((), (look, 1, 0), ([], scene.streams, 0)):
        with pytest.raises(TypeError):
            compiled.tell_streams(*arguments)
    begun = look[7]
    begun[id(scene.streams[0])] = "long ago"
    with pytest.raises(TypeError):
        compiled.tell_streams(look, scene.streams, 0)


async def test_nothing_is_kept() -> None:
    """Of what was told, and of what went wrong."""
    scene = Scene()
    direction = scene.aio()
    scene.owned(direction)
    stream = direction.stream
    stream.origin = note_origin("start")
    look = scene.teller()._look()
    compiled.tell_streams(look, scene.streams, 0)  # from now on lines and numbers are known
    things = direction, stream, stream.origin, stream.origin.place, OWNER, look, *look[4:11]
    before = list(map(sys.getrefcount, things))
    for _ in range(100):
        compiled.tell_streams(look, scene.streams, 0)
        outcome(compiled.tell_streams, look, [*scene.streams, None], 0)
    kept = [now - then for now, then in zip(map(sys.getrefcount, things), before, strict=True)]
    assert max(kept) < 100
