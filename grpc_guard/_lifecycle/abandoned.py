"""Sync handlers that stand still although their RPC is over: the rule abandoned-handler.

A handler that still runs when its RPC ends is checked again after a while, by a timer that runs
only in this case. Its thread stands still if its processor time has not changed; a thread that
wakes up now and then has used some.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from .._catalogue.boundary import never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.cpython import processor_time
from .._catalogue.forks import in_child
from .._catalogue.nouns import Subject
from .._catalogue.rules.abandoned_handler import StoodStill, still_works
from .._catalogue.thresholds import thresholds
from .._catalogue.timer import Timer
from .._findings.records import Owner
from .._findings.reporting import warn

_SHORTEST = 0.01  # seconds between two looks


class Suspect:
    """A handler that runs though its RPC is over; `look` returns its party, None once it ended."""

    __slots__ = ("ident", "look", "since", "time")

    def __init__(self, ident: int, look: Callable[[], tuple[Owner, Subject] | None]) -> None:
        self.ident = ident
        self.look = look
        self.since = monotonic()
        self.time = processor_time(ident)

    def is_settled(self) -> bool:
        """Check it again: warn if it stands still; tell whether no further check is needed."""
        found = self.look()
        if found is None:
            return True
        now, before, self.time = monotonic(), self.time, processor_time(self.ident)
        if still_works(self.time, before):
            self.since = now
            return self.time is None
        if now - self.since < thresholds().abandoned_handler_seconds:
            return False
        handler, subject = found
        warn(StoodStill(now - self.since, handler), subject, caller=handler)
        return True


class _Watch:
    """The suspects of this process, and the timer that looks at them."""

    def __init__(self) -> None:
        self.suspects: dict[Suspect, None] = {}  # as a set with an order
        self.timer: threading.Thread | None = None

    def add(self, suspect: Suspect) -> None:
        self.suspects[suspect] = None
        if self.timer is None:
            self._arm()

    def _arm(self) -> None:
        seconds = max(_SHORTEST, thresholds().abandoned_handler_seconds)
        name = "grpc_guard abandoned-handler"
        self.timer = timer = Timer(seconds, self._look, name, self._is_over)
        timer.start()

    def _is_over(self) -> bool:
        return all(suspect.look() is None for suspect in tuple(self.suspects))

    @never_disturbs("an abandoned handler goes unnoticed")
    def _look(self) -> None:
        self.timer = None  # from here on, the next suspect has it armed again
        for suspect in tuple(self.suspects):  # others may come meanwhile
            if suspect.is_settled():
                self.suspects.pop(suspect, None)
        if self.suspects and self.timer is None:
            self._arm()

    def forget(self) -> None:
        self.suspects, self.timer = {}, None


watch = _Watch()
in_child(watch.forget)
