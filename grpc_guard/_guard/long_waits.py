"""Operations that have waited long for their turn, in mode ``serialize``: each is logged, once.

A caller that waits has no timer. While callers wait, one thread sleeps until the first of them will
have waited too long. It ends when it finds no caller that waits.
"""

from __future__ import annotations

import logging
import math
import weakref

from .._catalogue.boundary import never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.forks import in_child
from .._catalogue.thresholds import thresholds
from .._catalogue.timer import Timer
from .._core.extras import Ticket
from .._core.stream import Direction
from .._findings import wording
from . import owners

logger = logging.getLogger("grpc_guard")

_SHORTEST = 0.01  # seconds between two looks


class LongWaits:
    """The directions in which callers wait, and the thread that checks them."""

    def __init__(self) -> None:
        self._directions: dict[int, weakref.ref[Direction]] = {}
        self._looked_at = -math.inf  # callers that came before this time have been checked
        self.timer: Timer | None = None

    @never_disturbs("a long wait goes unnoticed")
    def note(self, direction: Direction) -> None:
        """Note that a caller waits in `direction`; it is already in the queue."""
        known = self._directions.get(id(direction))
        if known is None or known() is not direction:
            self._directions[id(direction)] = weakref.ref(direction)
        if self.timer is None:
            self._arm(thresholds().long_wait_seconds)

    def _arm(self, seconds: float) -> None:
        seconds = max(_SHORTEST, seconds)
        timer = Timer(seconds, self._ring, "grpc_guard long waits", self._is_over)
        self.timer = timer  # before it starts: it may have rung by the time that start() returns
        try:
            timer.start()
        except BaseException:  # no more threads: the next caller that waits tries again
            self.timer = None
            raise

    def _is_over(self) -> bool:
        found = [reference() for reference in tuple(self._directions.values())]
        return not any(_waiting(direction) for direction in found if direction is not None)

    @never_disturbs("a long wait goes unnoticed")
    def _ring(self) -> None:
        self.timer = None  # from here on, the next caller that waits starts it again
        next_one = self.look(monotonic())
        if next_one is not None and self.timer is None:
            self._arm(next_one)

    def look(self, now: float) -> float | None:
        """Log the callers that have waited too long; return in how many seconds to check again.

        None if no caller waits. `now` is a time of time.monotonic().
        """
        seconds = thresholds().long_wait_seconds
        first = math.inf
        for key, reference in tuple(self._directions.items()):
            # Removed before its queue is checked: a caller that comes later adds it again.
            self._directions.pop(key, None)
            direction = reference()
            waiting = () if direction is None else _waiting(direction)
            if direction is None or not waiting:
                continue
            self._directions[key] = reference
            first = min([first, *(one.since for one in waiting if one.since > now - seconds)])
            long = [one for one in waiting if self._looked_at < one.since <= now - seconds]
            owner = owners.owner_of(direction) if long else None
            for ticket in long:
                waiter, subject = owners.party_with(ticket, now), direction.stream.subject
                logger.warning("%s", wording.long_wait(subject, waiter, owner))
        self._looked_at = max(self._looked_at, now - seconds)
        return min(first + seconds - now, seconds) if self._directions else None

    def forget(self) -> None:
        """Start anew, in a forked child."""
        self._directions, self._looked_at, self.timer = {}, -math.inf, None


def _waiting(direction: Direction) -> list[Ticket]:
    turns = direction.turns
    assert turns is not None
    inside = None if turns.is_free else turns.inside  # a thread stays in the queue until it leaves
    return [ticket for ticket in turns.queue.copy() if ticket is not inside]


long_waits = LongWaits()
in_child(long_waits.forget)
