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
from typing import Any, NamedTuple

from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import AWAITED, awaited_by_tasks, tasks_among
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

# The future that a task waits for, what its place tells, and the direction it is in.
_Known = tuple["weakref.ref[Any]", Standing, "weakref.ref[Any] | None"]
_Reference = weakref.ref["asyncio.Task[Any]"]


# A standing, the tasks that have it, and their directions, if they are in any.
Recalled = tuple[Standing, list["asyncio.Task[Any]"], list[Direction]]


class Memory:
    """What one look at the tasks of `loops` remembers of the last one, and leaves to the next.

    A task is known by the weak reference that asyncio has to it: no other task will ever have that.
    """

    _before: dict[_Reference, _Known]

    def __init__(self, loops: set[asyncio.AbstractEventLoop]) -> None:
        now = monotonic()
        last, its, known = _last
        self._loops, self._ids = loops, set(map(id, loops))
        self._before = known if its <= self._ids else {}  # each task in it is of one of `loops`
        self._is_kept = now - last < _SECONDS  # one look alone leaves nothing: that takes time, too
        self._waited: dict[int, tuple[_Reference, object]] = {}
        self._after: dict[_Reference, _Known] = {}

    def recalled(
        self, references: Sequence[_Reference], fresh: list[asyncio.Task[Any]]
    ) -> Iterable[Recalled]:
        """Return the tasks that have not gone on, by their standing.

        Of those that `references` lead to; add the others of the loops to `fresh`.
        """
        if not self._is_kept:
            fresh += tasks_among(references, self._loops)
            return ()
        compiled = which.compiled()
        if compiled is None:
            return self.recalled_in_python(references, fresh)
        tables = self._before, self._after, self._waited
        said = self._loops, fresh, *tables, NOWHERE, AWAITED
        found: list[Recalled] = compiled.recalled(references, *said)
        return found

    def recalled_in_python(
        self, references: Sequence[_Reference], fresh: list[asyncio.Task[Any]]
    ) -> Iterable[Recalled]:
        """Return the same without the compiled core."""
        found: dict[int, Any] = {}
        before, after = self._before, self._after
        for reference in references:
            task = reference()
            if task is None:
                continue
            (future,) = awaited_by_tasks([task])
            known = None if future is None else before.get(reference)
            # A local variable of the task holds the direction, unless it has gone on just now.
            inside = None if known is None or known[2] is None else (known[2](),)
            if known is None or known[0]() is not future or inside == (None,):
                if task.get_loop() in self._loops and not task.done():
                    fresh.append(task)
                    self._waited[id(task)] = reference, future
                continue
            after[reference] = known
            standing = known[1]
            if standing is NOWHERE:
                continue
            part: Any = found.get(id(standing))
            if part is None:
                part = found[id(standing)] = standing, [], []
            part[1].append(task)
            part[2].extend(inside or ())
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
            reference, before = self._waited[id(task)]
            if type(future) is asyncio.Future and before is future:
                self._after[reference] = weakref.ref(future), standing, direction

    def leave(self) -> None:
        """Leave what is known to the next look."""
        _last[:] = monotonic(), self._ids, self._after
        self._waited = {}


# When the last look was, at which loops, by their identity, and what it has left.
_last: list[Any] = [float("-inf"), set(), {}]
