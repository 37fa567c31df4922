"""A forked child starts clean: no lock of the parent, none of its channels.

The one place that registers with ``os.register_at_fork``: an object that has a lock or a table
of the process registers here.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class _StartsClean(Protocol):
    def after_fork(self) -> None: ...


# Objects of the parent: destroying a channel in the child can hang, and a loop's own selector
# is shared with the parent.
_inherited: list[object] = []
generation = 0  # how many forks lie between this process and the first
_objects: weakref.WeakSet[_StartsClean] = weakref.WeakSet()
_functions: list[Callable[[], object]] = []


def start_clean(thing: _StartsClean) -> None:
    """Call ``thing.after_fork()`` in every child that is forked from now on; held weakly."""
    _objects.add(thing)


def in_child(function: Callable[[], object]) -> None:
    """Call `function` in every child that is forked from now on; it is kept."""
    _functions.append(function)


def inherit(thing: object) -> None:
    """Keep what came from the parent, for as long as the child lives."""
    _inherited.append(thing)


def _after_fork() -> None:
    global generation
    generation += 1
    for function in tuple(_functions):
        function()
    for thing in tuple(_objects):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
