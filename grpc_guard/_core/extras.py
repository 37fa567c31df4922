"""What only some directions have: a count of operations, a queue of waiters, a watch."""

from __future__ import annotations

import weakref
from _thread import get_ident
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

from .._catalogue.clock import monotonic
from .._catalogue.forks import in_child, inherit

# The token of a free queue. One element always stays, so that claim and release never make
# the list allocate.
FREE = (0, 0)
GIVE_BACK = (0,)

# The operations of directions that are gone, and the tallies of those that live, by their id: to
# look for them on the heap costs as much as the program is large. Without a lock: each change is
# atomic.
_retired: deque[int] = deque()
_live: dict[int, list[int]] = {}
_RETIRED = 1000


class Ticket:
    """One operation in mode ``serialize``: who does it, where, and what wakes it when it waits.

    ``place`` is the code, and the index of the instruction in it, that asked for the operation;
    it may be machinery's. ``since`` is when it came, in seconds of time.monotonic(). ``bell`` is
    a queue (threads) or a future (tasks), made only where the operation has to wait. The task is
    held weakly; None for a thread.
    """

    __slots__ = ("bell", "ident", "operation", "place", "route", "since", "task", "wakers")

    def __init__(
        self, operation: str, frame: FrameType | None, task: weakref.ref[Any] | None = None
    ) -> None:
        self.bell: Any = None
        self.wakers: Any = ()  # of the bell, a future: what has the task go on
        self.operation = operation
        self.place = None if frame is None else (frame.f_code, frame.f_lasti)
        self.route = _route(frame)
        self.task = task
        self.ident = get_ident()
        self.since = monotonic()


def _route(frame: FrameType | None) -> tuple[int, ...]:
    """Return what distinguishes callers of one line: the next frames outward."""
    route: list[int] = []
    frame = None if frame is None else frame.f_back
    while frame is not None and len(route) < _ROUTE:
        route += (id(frame.f_code), frame.f_lasti)
        frame = frame.f_back
    return tuple(route)


_ROUTE = 4  # two numbers for each frame


class Turns:
    """The queue before a direction in mode ``serialize``: the real token, and the waiting callers.

    Threads claim ``token``, and tasks ``taken``. ``inside`` is the ticket of the caller that claimed
    it last, None if that had none. ``counted`` belongs to the guard: its findings here so far.
    ``on_leave`` is called once, when the task that is inside leaves; None where nobody asks.
    """

    __slots__ = ("counted", "inside", "on_leave", "queue", "taken", "token")

    def __init__(self) -> None:
        self.token = list(FREE)
        self.taken = False
        self.queue: deque[Ticket] = deque()
        self.inside: Ticket | None = None
        self.counted: dict[object, Any] = {}
        self.on_leave: Callable[[], None] | None = None

    @property
    def is_free(self) -> bool:
        return not self.taken and len(self.token) == len(FREE)


class Extra:
    """What few directions have, and all others need no room for."""

    __slots__ = ("tally", "turns", "watch")

    def __init__(self, watch: Any, *, takes_turns: bool, is_counted: bool) -> None:
        self.tally = [0] if is_counted else None
        if self.tally is not None:
            _live[id(self.tally)] = self.tally
        self.turns = Turns() if takes_turns else None
        self.watch = watch

    def __del__(self) -> None:
        tally = getattr(self, "tally", None)  # construction may have been interrupted
        if tally is not None and _live.pop(id(tally), None) is not None:
            _retired.append(tally[0])  # a finaliser takes no lock
            while len(_retired) > _RETIRED:  # other threads may have stepped over it too
                _retired.append(_retired.popleft() + _retired.popleft())


def counted() -> int:
    """Return how many operations the directions of this process have counted, gone or not."""
    return sum(_retired.copy()) + sum(tally[0] for tally in _live.copy().values())


def _start_again() -> None:
    """In a forked child: what was counted is the parent's.

    The parent's tallies are not even looked at, for what is touched here is copied.
    """
    global _live
    inherit(_live)
    _live = {}
    _retired.clear()


in_child(_start_again)
