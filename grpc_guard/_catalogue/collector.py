"""The collector at rest, while the guard looks at the whole process."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Iterator

from .forks import in_child

# New objects that would have it run meanwhile: more than there can be. Not 0: a program may read this,
# and put it back later, and nobody could tell it from a collector that the program has stopped.
AT_REST = 2_147_483_629


class _Rest:
    """Who has stopped it: lives as long as the block. ``before`` is how many had it run."""

    __slots__ = ("__weakref__", "before")

    def __init__(self, before: int) -> None:
        self.before = before


_resting: list[weakref.ref[_Rest]] = []  # an exception that arrives may leave a dead one
_usual: list[int] = []  # the last ``before``: for a program that has put AT_REST back


@contextlib.contextmanager
def collector_at_rest() -> Iterator[int]:
    """Let the collector rest in the block, which makes many objects, and drops them.

    The block gets how many new objects had it run; 0 if it rests already.

    It would look through the whole heap for them, and run finalisers of the program on this thread.
    Not by gc.disable(): whether the program has called that, or calls it meanwhile, could not be told.
    In a child that another thread forks meanwhile the block never ends, so that it works there at once.
    """
    before = gc.get_threshold()[0]
    if before == AT_REST and _usual and not any(rest() for rest in _resting):
        before = _usual[0]
    stops = before not in (0, AT_REST)  # else it rests already
    now = AT_REST
    rest = _Rest(before)
    resting = weakref.ref(rest)
    try:
        if stops:
            _usual[:] = [before]
            _resting.append(resting)
            gc.set_threshold(AT_REST)
        yield before if stops else 0
    finally:
        if stops:
            try:
                now = gc.get_threshold()[0]
            finally:  # an exception that arrives comes after a call: this one has been done then
                if now == AT_REST:  # else the program has set it
                    gc.set_threshold(before)
            if resting in _resting:
                _resting.remove(resting)


def _go_on() -> None:
    for resting in _resting:
        rest = resting()
        if rest is not None and gc.get_threshold()[0] == AT_REST:
            gc.set_threshold(rest.before)
    _resting.clear()


in_child(_go_on)
