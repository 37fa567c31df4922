"""snapshot(): every live stream, channel and server of the process, found when it is asked.

Nothing is kept for it while the program runs: streams and directions are found among the objects
of the collector, in one walk, and who is inside them in one look at threads and tasks.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import sys
from time import monotonic

from .._catalogue.heap import instances, with_subclasses
from .._catalogue.lazy import public
from .._catalogue.modes import current_mode
from .._catalogue.nouns import READ, WRITE, Way
from .._core.stream import Direction, Stream
from .._findings.ledger import ledger
from .._findings.origins import Origin
from .._findings.parties import name_of_thread
from .._findings.records import Frame, Owner
from .._findings.reporting import now
from .._guard.owners import owner_without_frame
from .._lifecycle.channels import lives
from .._lifecycle.handlers import servers
from .deductions import Told, deduced
from .records import ChannelSnapshot, DirectionSnapshot, Snapshot, StreamSnapshot
from .sending import is_sending, suspended
from .servers import servers_seen
from .sight import Sight, loops_of

_LATEST = 20  # findings


@public
def snapshot() -> Snapshot:
    """Return what every live stream, channel and server of this process is doing.

    Frozen records, from any thread; nothing of the program is touched, and nothing but names,
    lines and numbers is in them. It takes some 10 ms, and with 10,000 live streams some 100 ms.
    Meanwhile other threads run, but not while the objects of the process are walked: some 10 ms
    for each 100,000 of them.
    """
    collects = gc.isenabled()
    gc.disable()  # a collection in here would run finalisers of the program on this thread
    try:
        return _look()
    finally:
        if collects:
            gc.enable()


def _look() -> Snapshot:
    streams, directions = alive()
    sight = Sight(loops_of(directions))
    try:
        return _told(streams, directions, sight)
    finally:
        sight.forget_frames()


def alive() -> tuple[list[Stream], list[Direction]]:
    """Return the streams and directions that exist, in one walk."""
    found = instances({Stream, *with_subclasses(Direction)})
    return (
        [one for one in found if type(one) is Stream and hasattr(one, "is_instrumented")],
        [one for one in found if type(one) is not Stream and _is_whole(one)],
    )


def _is_whole(direction: Direction) -> bool:
    """Tell whether `direction` has been made to its end: another thread may be about to."""
    try:
        return direction.is_free or direction.stream.is_instrumented or direction.since >= 0.0
    except AttributeError:
        return False


def _told(streams: list[Stream], directions: list[Direction], sight: Sight) -> Snapshot:
    by_stream: dict[int, list[Direction]] = {}
    for direction in directions:
        by_stream.setdefault(id(direction.stream), []).append(direction)
    origins = _Origins()
    existing = list(lives())
    numbers = {id(life): number for number, life in enumerate(existing, start=1)}
    serving = tuple(servers_seen(sight))
    told: list[Told] = []
    begun = _begun_handling()
    for stream in streams:
        if stream.origin is not None:
            begun[id(stream)] = stream.origin.since
    present = monotonic()
    for stream in sorted(streams, key=lambda one: begun.get(id(one), present)):
        mine = by_stream.get(id(stream), [])
        state = _state(stream)
        if state == "over" and not any(id(one) in sight.owners for one in mine):
            continue
        told.append(
            (
                StreamSnapshot(
                    number=len(told) + 1,
                    rpc=stream.rpc,
                    side=str(stream.side),
                    api=str(stream.api),
                    mode=str(stream.mode),
                    state=state,
                    age_seconds=present - begun[id(stream)] if id(stream) in begun else None,
                    origin=None if stream.origin is None else origins.owner(stream.origin),
                    channel=numbers.get(id(stream.channel)),
                    read=_reading(stream, mine, sight),
                    write=_writing(stream, mine, sight),
                ),
                stream,
                mine,
            )
        )
    carried: dict[int | None, int] = {}
    for one, _, _ in told:
        carried[one.channel] = carried.get(one.channel, 0) + 1
    channels = tuple(
        ChannelSnapshot(
            number=numbers[id(life)],
            target=life.target,
            api=str(life.api),
            state=life.state(),
            streams=carried.get(numbers[id(life)], 0),
            origin=origins.owner(life.origin),
        )
        for life in existing
    )
    return Snapshot(
        pid=os.getpid(),
        program=program(),
        time=now(),
        mode=str(current_mode()),
        streams=tuple(one for one, _, _ in told),
        channels=channels,
        servers=serving,
        findings=ledger.findings()[-_LATEST:],
        deductions=tuple(deduced(told, channels, serving, sight)),
    )


def _begun_handling() -> dict[int, float]:
    """Return since when each stream of a server has been handled, by its identity."""
    return {
        id(stream): since
        for _, handlers in servers()
        for stream, since in handlers.streams().values()
    }


def _state(stream: Stream) -> str:
    if stream.is_over():
        return "over"
    return "open" if stream.is_open() or stream.side == "server" else "unknown"


def _reading(stream: Stream, directions: list[Direction], sight: Sight) -> DirectionSnapshot | None:
    direction = _of_way(READ, directions)
    return None if direction is None else _described(direction, sight)


def _writing(stream: Stream, directions: list[Direction], sight: Sight) -> DirectionSnapshot | None:
    direction = _of_way(WRITE, directions)
    if direction is None:
        return None
    described = _described(direction, sight)
    frames = () if described.owner is not None else sight.lines.stack(suspended(stream))
    return dataclasses.replace(
        described,
        unsent=is_sending(stream, sight),
        suspended_at=frames[-1] if frames else None,
    )


def _of_way(way: Way, directions: list[Direction]) -> Direction | None:
    return next((one for one in directions if one.way is way), None)


def _described(direction: Direction, sight: Sight) -> DirectionSnapshot:
    owner = sight.owner(direction)
    if owner is None and not direction.is_free:
        owner = owner_without_frame(direction)
    last = None
    if owner is None and direction.since and isinstance(direction.owner, int):
        last = "{} {!r}".format(*name_of_thread(direction.owner))
    return DirectionSnapshot(
        owner=owner,
        waiting=sight.waiting(direction),
        last_began_seconds=max(0.0, monotonic() - direction.since) if direction.since else None,
        last=last,
    )


class _Origins:
    """Puts origins into records; that of one place is looked up once."""

    def __init__(self) -> None:
        self._sites: dict[object, Frame | None] = {}

    def owner(self, origin: Origin) -> Owner:
        if origin.place not in self._sites:
            self._sites[origin.place] = origin.site
        site = self._sites[origin.place]
        stack = () if site is None else (site,)
        return Owner(origin.kind, origin.name, origin.operation, origin.age, stack)


def program() -> str:
    """Return the main module of this process: ``-m`` name or file; of arguments nothing."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    return str(getattr(spec, "name", None) or getattr(main, "__file__", None) or "(no file)")
