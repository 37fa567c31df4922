"""What the last look has found for tasks that have not gone on since: a dump each second asks it.

A task that waits for a future has not run as long as that is what it waits for: whatever ends its
waiting, the future is done by then, and a future that is done is not waited for again. So its
chain of awaits is the same, with the same lines and local variables. This holds for asyncio's own
class of futures alone, and for no other kind anything is remembered. Nothing of the program is
kept: tasks, futures and directions are held weakly, of lines the records.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Sequence
from itertools import repeat
from time import monotonic
from typing import Any, NamedTuple

from .._catalogue.cpython_loops import AWAITED, awaited_by_tasks
from .._core import which
from .._core.stream import Direction
from .._findings.records import Frame

_SECONDS = 10.0  # between two looks; after more, nothing is remembered


class Standing(NamedTuple):
    """What can be said of a task by its place.

    ``handler`` is where it handles an RPC; None if it handles none. ``operation`` is in progress in
    a direction, ``stack`` is where, and ``is_timed`` as in a Role; empty if it is in none.
    """

    handler: tuple[Frame, ...] | None = None
    operation: str = ""
    stack: tuple[Frame, ...] = ()
    is_timed: bool = True


NOWHERE = Standing()

# The task and the future that it waits for, what its place tells, and the direction it is in.
_Known = tuple["weakref.ref[Any]", "weakref.ref[Any]", Standing, "weakref.ref[Any] | None"]


# A standing, the tasks that have it, and their directions, if they are in any.
Recalled = tuple[Standing, list["asyncio.Task[Any]"], list[Direction]]


class Memory:
    """What one look remembers of the last one, and leaves to the next."""

    _before: dict[int, _Known]

    def __init__(self) -> None:
        now = monotonic()
        last, self._before = _last
        self._is_kept = now - last < _SECONDS  # one look alone leaves nothing: that takes time, too
        self._waited: dict[int, object] = {}
        self._after: dict[int, _Known] = {}

    def recalled(
        self, tasks: Sequence[asyncio.Task[Any]], fresh: list[asyncio.Task[Any]]
    ) -> Iterable[Recalled]:
        """Return the tasks that have not gone on, by their standing; add the others to `fresh`."""
        if not self._is_kept:
            fresh += tasks
            return ()
        compiled = which.compiled()
        if compiled is None:
            return self.recalled_in_python(tasks, fresh)
        tables = self._before, self._after, self._waited
        self._waited.clear()
        found: list[Recalled] = compiled.recalled(tasks, fresh, *tables, NOWHERE, AWAITED)
        return found

    def recalled_in_python(
        self, tasks: Sequence[asyncio.Task[Any]], fresh: list[asyncio.Task[Any]]
    ) -> Iterable[Recalled]:
        """Return the same without the compiled core."""
        keys, futures = list(map(id, tasks)), awaited_by_tasks(tasks)
        self._waited = dict(zip(keys, futures, strict=True))
        found: dict[int, Recalled] = {}
        before, after = self._before, self._after
        for key, known, task, future in zip(
            keys, map(before.get, keys), tasks, futures, strict=True
        ):
            if (
                known is None
                or future is None
                or known[1]() is not future
                or known[0]() is not task
            ):
                fresh.append(task)
                continue
            after[key] = known
            standing = known[2]
            if standing is NOWHERE:
                continue
            part = found.get(id(standing))
            if part is None:
                part = found[id(standing)] = standing, [], []
            part[1].append(task)
            if known[3] is not None:
                direction: Any = known[3]()  # a local variable of the task holds it
                part[2].append(direction)
        return found.values()

    def note(
        self,
        tasks: Sequence[asyncio.Task[Any]],
        standing: Standing,
        directions: Sequence[Direction] = (),
    ) -> None:
        """Remember what was found for some of the tasks that were `fresh`, if they wait still."""
        if not self._is_kept:
            return
        refs: Any = map(weakref.ref, directions) if directions else repeat(None)
        now = awaited_by_tasks(tasks)
        for task, future, direction in zip(tasks, now, refs, strict=False):
            if type(future) is asyncio.Future and self._waited[id(task)] is future:
                known = weakref.ref(task), weakref.ref(future), standing, direction
                self._after[id(task)] = known

    def leave(self) -> None:
        """Leave what is known to the next look."""
        _last[:] = monotonic(), self._after
        self._waited = {}


_last: list[Any] = [float("-inf"), {}]  # when the last look was, and what it has left
