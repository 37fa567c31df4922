"""The collector at rest, while the guard looks at the whole process."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from .forks import in_child

_stopped: list[int] = []  # how many new objects had it run before, for each that has stopped it


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let the collector rest in the block, which makes many objects, and drops them.

    It would look through the whole heap for them, and run finalisers of the program on this thread.
    Not by gc.disable(): whether the program has called that, or calls it meanwhile, could not be told.
    In a child that another thread forks meanwhile the block never ends, so that it works there at once.
    """
    before = gc.get_threshold()[0]
    now = 0
    try:
        if before != 0:  # else it rests already
            _stopped.append(before)
            gc.set_threshold(0)
        yield
    finally:
        if before != 0:
            try:
                now = gc.get_threshold()[0]
            finally:  # an exception that arrives comes after a call: this one has been done then
                if now == 0:  # else the program has set it
                    gc.set_threshold(before)
            if before in _stopped:
                _stopped.remove(before)


def _go_on() -> None:
    if _stopped and gc.get_threshold()[0] == 0:
        gc.set_threshold(_stopped[0])
    _stopped.clear()


in_child(_go_on)
