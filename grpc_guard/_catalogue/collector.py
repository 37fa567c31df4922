"""The collector at rest, while the guard looks at the whole process."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from .forks import in_child

_rests: list[object] = []  # those for which it rests
_before = 0  # how many new objects had it run before the first of them; 0: it rested then, too


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let the collector rest in the block, which makes many objects, and drops them.

    It would look through the whole heap for them, and run finalisers of the program on this thread.
    Not by gc.disable(): whether the program has called that, or calls it meanwhile, could not be told.
    In a child that another thread forks meanwhile the block never ends, so that it works there at once.
    """
    rest = object()
    try:
        _rests.append(rest)
        _stop()
        yield
    finally:
        if rest in _rests:
            _rests.remove(rest)
            _go_on()


def _stop() -> None:
    global _before
    threshold = gc.get_threshold()[0]
    if threshold != 0:
        _before = threshold
        gc.set_threshold(0)


def _go_on() -> None:
    global _before
    if not _rests:
        before, _before = _before, 0
        if before != 0 and gc.get_threshold()[0] == 0:  # else the program has set it meanwhile
            gc.set_threshold(before)


def _go_on_in_child() -> None:
    _rests.clear()
    _go_on()


in_child(_go_on_in_child)
