"""The collector at rest, while the guard looks at the whole process."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from .forks import in_child

_rests: list[object] = []  # those for which it was stopped


@contextlib.contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let the collector rest in the block, which makes many objects, and drops them.

    It would look through the whole heap for them, and run finalisers of the program on this thread.
    In a child that another thread forks meanwhile the block never ends, so that it works there at once.
    """
    rest = object()
    try:
        if gc.isenabled():
            _rests.append(rest)
            gc.disable()
        yield
    finally:
        if rest in _rests:
            _rests.remove(rest)
            gc.enable()


def _go_on() -> None:
    if _rests:
        _rests.clear()
        gc.enable()


in_child(_go_on)
