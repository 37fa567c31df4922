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
from collections.abc import Iterator
from time import monotonic

from .._catalogue.lazy import public
from .._catalogue.modes import current_mode
from .._core.stream import Stream
from .._findings.ledger import ledger
from .._findings.reporting import now
from .._lifecycle.channels import lives
from .deductions import deduced
from .living import Handled, loops_of, streams_listed
from .records import ChannelSnapshot, Snapshot
from .servers import servers_seen
from .sight import Sight
from .telling import Origins, Teller

_LATEST = 20  # findings


@public
def snapshot() -> Snapshot:
    """Return what every live stream, channel and server of this process is doing.

    Frozen records, from any thread; nothing of the program is touched, and nothing but names,
    lines and numbers is in them. It takes some milliseconds, and with 10,000 live streams about a
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
    origins = Origins(sight.lines)
    existing = list(lives())
    numbers = {id(life): number for number, life in enumerate(existing, start=1)}
    serving = tuple(servers_seen(sight))
    told = list(Teller(streams, sight, origins, numbers).told())
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


def program() -> str:
    """Return the main module of this process: ``-m`` name or file; of arguments nothing."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = getattr(spec, "name", None) or getattr(main, "__file__", None)
    if name:
        _program[:] = [str(name)]
    return _program[0]


_program = ["no file"]  # as it was known last: at the end of the main thread Python forgets it
