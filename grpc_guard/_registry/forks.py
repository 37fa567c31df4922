"""A forked child starts clean: no lock of the parent, none of its channels."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class _StartsClean(Protocol):
    def after_fork(self) -> None: ...


# What is the parent's: to destroy a channel in the child can hang, and a loop's own selector
# is shared with the parent.
_inherited: list[object] = []
_objects: weakref.WeakSet[_StartsClean] = weakref.WeakSet()


def start_clean(thing: _StartsClean) -> None:
    """Call ``thing.after_fork()`` in every child that is forked from now on; held weakly."""
    _objects.add(thing)


def inherit(thing: object) -> None:
    """Keep what came from the parent, for as long as the child lives."""
    _inherited.append(thing)


def _after_fork() -> None:
    for thing in tuple(_objects):
        thing.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
