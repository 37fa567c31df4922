"""snapshot(): every live stream, channel and server of the process, found when it is asked.

Nothing is kept for it while the program runs: streams are found by their channels and servers, and
who is inside them in one look at threads and tasks.
"""

from __future__ import annotations

import collections
import contextlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import grpc  # noqa: F401  # before the modules below: enable() may wait for it, and needs them whole

from .._catalogue.clock import monotonic
from .._catalogue.collector import collector_at_rest
from .._catalogue.lazy import public
from .._catalogue.modes import current_mode
from .._core import which
from .._core.stream import Stream
from .._findings.ledger import ledger
from .._findings.reporting import now
from .._lifecycle.channels import lives
from .deductions import deduced
from .elsewhere import tasks_seen, threads_seen
from .living import Handled, let_go, loops_of, streams_listed
from .messages import Answer, parts_of_reply
from .native import new_objects, pause, settle
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
        return _look(None)


class Reply:
    """A message with what snapshot() returns, in parts; close() leaves their memory to the next one.

    With the compiled core, most streams become bytes without a record. One that `settles` is there
    when what the look has left behind is gone: on a thread that has the time.
    """

    def __init__(self, *, settles: bool = False) -> None:
        self._answer = Answer() if which.compiled() is not None else None
        try:
            with collector_at_rest() as due:
                before = new_objects()
                self.parts = self._taken()
                if settles:
                    settle(before, due)
        except BaseException:
            self.close()
            raise

    def _taken(self) -> list[bytes | memoryview]:
        if self._answer is not None:
            with contextlib.suppress(UnicodeEncodeError):  # rare: see encoded()
                return parts_of_reply(_look(self._answer), self._answer)
        return parts_of_reply(_look(None), None)

    def close(self) -> None:
        """Let go of the parts."""
        if self._answer is not None:
            self._answer.close()


def answer() -> bytes:
    """Return a message with what snapshot() returns."""
    with contextlib.closing(Reply()) as reply:
        return b"".join(reply.parts)


def _look(answer: Answer | None) -> Snapshot:
    """Look at the process; what there is an `answer` for, the snapshot lacks."""
    handled = Handled()
    streams = streams_listed(handled)
    try:
        pause(streams)
        sight = Sight(loops_of(streams), handled, streams)
        try:
            pause(streams)
            return _told(sight.streams_among(streams), sight, answer)
        finally:
            sight.forget_frames()
    finally:
        let_go(streams)


def _told(streams: list[Stream], sight: Sight, answer: Answer | None) -> Snapshot:
    origins = Origins(sight.lines)
    existing = list(lives())
    numbers = {id(life): number for number, life in enumerate(existing, start=1)}
    serving = tuple(servers_seen(sight, answer))
    pause(streams)
    teller = Teller(streams, sight, origins, numbers)
    if answer is None:
        told = list(teller.told())
        streams = [stream for _, stream, _ in told]
        carried: Mapping[Any, int] = collections.Counter(one.channel for one, _, _ in told)
    else:
        streams, told, carried = teller.answered(answer)
    present = monotonic()
    channels = tuple(
        ChannelSnapshot(
            number=number,
            target=life.target,
            api=str(life.api),
            state=life.state(),
            streams=carried.get(number, 0),
            origin=origins.owner(life.origin, present),
        )
        for number, life in enumerate(existing, start=1)
    )
    found = Snapshot(
        pid=os.getpid(),
        program=program(),
        time=now(),
        mode=str(current_mode()),
        streams=tuple(one for one, _, _ in told) if answer is None else (),
        channels=channels,
        servers=serving,
        findings=ledger.findings()[-_LATEST:],
        deductions=tuple(deduced(told, streams, channels, serving, sight)),
        threads=tuple(threads_seen(sight, serving)),
        tasks=tuple(tasks_seen(sight)),
    )
    let_go(streams)
    return found


def program() -> str:
    """Return the main module of this process: ``-m`` name or file; of arguments nothing."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = getattr(spec, "name", None) or getattr(main, "__file__", None)
    if name:
        _program[:] = [str(name)]
    return _program[0]


_program = ["no file"]  # as it was known last: at the end of the main thread Python forgets it
