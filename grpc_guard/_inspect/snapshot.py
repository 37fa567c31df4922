"""snapshot(): every live stream, channel and server of the process, found when it is asked.

Nothing is kept for it while the program runs: streams are found by their channels and servers, and
who is inside them in one look at threads and tasks.
"""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import sys
from collections.abc import Iterable, Iterator
from time import monotonic

from .._catalogue.lazy import public
from .._catalogue.modes import current_mode
from .._catalogue.nouns import READ, SERVER, WRITE, Way
from .._core.stream import Direction, Stream
from .._findings.ledger import ledger
from .._findings.origins import Origin
from .._findings.parties import name_of_thread
from .._findings.records import Owner
from .._findings.reporting import now
from .._lifecycle.channels import lives
from .deductions import Told, deduced
from .lines import Lines
from .living import Handled, is_whole, loops_of, others_among, streams_listed
from .native import slices_of
from .records import (
    ChannelSnapshot,
    DirectionSnapshot,
    Snapshot,
    new_direction,
    new_owner,
    new_stream,
)
from .sending import is_sending, suspended
from .servers import servers_seen
from .sight import Sight

_LATEST = 20  # findings


@public
def snapshot() -> Snapshot:
    """Return what every live stream, channel and server of this process is doing.

    Frozen records, from any thread; nothing of the program is touched, and nothing but names,
    lines and numbers is in them. It takes some 10 ms, and with 10,000 live streams one or two
    hundred. Meanwhile other threads run, mostly after a millisecond or two, but not while the
    objects of the process are walked: some 10 ms for each 100,000 of them.
    """
    with collector_at_rest():
        return _look()


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let the collector rest in the block, which makes many objects, and drops them.

    It would look through the whole heap for them, and run finalisers of the program on this thread.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _look() -> Snapshot:
    handled = Handled()
    listed = streams_listed(handled)
    sight = Sight(loops_of(listed), handled)
    try:
        return _told(sight.streams_among(listed), sight)
    finally:
        sight.forget_frames()


def _told(streams: list[Stream], sight: Sight) -> Snapshot:
    origins = _Origins(sight.lines)
    existing = list(lives())
    numbers = {id(life): number for number, life in enumerate(existing, start=1)}
    serving = tuple(servers_seen(sight))
    told = list(_streams_told(streams, sight, origins, numbers))
    carried = collections.Counter(one.channel for one, _, _ in told)
    present = monotonic()
    channels = tuple(
        ChannelSnapshot(
            number=number,
            target=life.target,
            api=str(life.api),
            state=life.state(),
            streams=carried[number],
            origin=origins.owner(life.origin, present),
        )
        for number, life in enumerate(existing, start=1)
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


def _streams_told(
    streams: list[Stream], sight: Sight, origins: _Origins, channels: dict[int, int]
) -> Iterator[Told]:
    """Yield the record of each stream, the oldest first; `channels` are numbers of channels."""
    begun = sight.handled.begun()
    begun.update((id(one), one.origin.since) for one in streams if one.origin is not None)
    present = monotonic()
    in_order = sorted(streams, key=lambda one: begun.get(id(one), present))
    others = others_among(streams, sight.directions.values())
    owned, text = sight.owners, str.__str__  # of an enum a plain one
    number = 0
    for some in slices_of(in_order):
        for stream in some:
            key, origin = id(stream), stream.origin
            mine = read, write = stream.read, stream.write
            if key in others:
                mine = *mine, *others[key]
                read, write = _chosen(READ, mine, sight), _chosen(WRITE, mine, sight)
            state = _state(stream)
            if state == "over" and not any(id(one) in owned for one in mine):
                continue
            number += 1
            since = begun.get(key)
            described = new_stream(
                number,
                stream.rpc,
                text(stream.side),
                text(stream.api),
                text(stream.mode),
                state,
                None if since is None else present - since,
                None if origin is None else origins.owner(origin, present),
                channels.get(id(stream.channel)),
                _described(read, sight, present),
                _described(write, sight, present),
            )
            yield described, stream, mine


def _chosen(way: Way, directions: Iterable[Direction | None], sight: Sight) -> Direction | None:
    """Return the one of `directions` that goes this `way`; None without one.

    Around a call with interceptors there are two to read from: somebody is in either.
    """
    going = [one for one in directions if one is not None and is_whole(one) and one.way is way]
    inside = [one for one in going if id(one) in sight.directions]
    return next(reversed(inside), next(iter(going), None))


def _state(stream: Stream) -> str:
    if stream.is_over():
        return "over"
    return "open" if stream.side == SERVER or stream.is_followed() else "unknown"


def _described(
    direction: Direction | None, sight: Sight, present: float
) -> DirectionSnapshot | None:
    """Return the record of `direction`; None without one that is made to its end."""
    owner = sight.owners.get(id(direction))
    if direction is None or (owner is None and not is_whole(direction)):
        return None
    waiting = sight.waiting(direction) if sight.waiters else ()
    is_written = direction.way is WRITE
    unsent = is_written and is_sending(direction.stream, sight)
    if owner is not None:
        return new_direction(owner, waiting, owner.held_seconds, None, unsent, None)
    began = direction.since
    last = suspended_at = None
    if not direction.is_free and began <= sight.time:
        owner = sight.owner_not_seen(direction)
    elif began and isinstance(direction.owner, int):
        last = "{} {!r}".format(*name_of_thread(direction.owner))
    ago = max(0.0, present - began) if began else None
    if owner is not None:
        ago = owner.held_seconds
    elif is_written:
        for frame in suspended(direction):
            suspended_at = next(reversed(sight.lines.stack([frame])), None)
    return new_direction(owner, waiting, ago, last, unsent, suspended_at)


class _Origins:
    """Puts origins into records; that of one place is looked up once."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def owner(self, origin: Origin, present: float) -> Owner:
        place = origin.place
        stack = () if place is None else self._lines.at(place)
        ago = max(0.0, present - origin.since)
        return new_owner(origin.kind, origin.name, origin.operation, ago, stack, "inside", None)


def program() -> str:
    """Return the main module of this process: ``-m`` name or file; of arguments nothing."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = getattr(spec, "name", None) or getattr(main, "__file__", None)
    if name:
        _program[:] = [str(name)]
    return _program[0]


_program = ["no file"]  # as it was known last: at the end of the main thread Python forgets it
