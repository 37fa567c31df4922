"""What the last look has found for tasks that have not gone on since: a dump each second asks it.

A task that waits for a future has not run as long as that is what it waits for: whatever ends its
waiting, the future is done by then, and a future that is done is not waited for again. So its
chain of awaits is the same, with the same lines and local variables. This holds for asyncio's own
class of futures alone, and for no other kind anything is remembered. Nothing of the program is
kept: tasks, futures and directions are held weakly, of lines the records. The compiled core knows
most by the operation that they are inside of: see inside.c.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple, Self

from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import AWAITED, awaited_by_tasks, tables_of_tasks, tasks_among
from .._core import which
from .._core.stream import Direction, Stream
from .._findings.records import Frame
from .lines import Stacks
from .native import slices_of

_SECONDS = 10.0  # between two looks; after more, nothing is remembered
_STACKS = 1000  # that are remembered, and those of the last look beside them
# Tasks that have been looked at before, mostly: they take a millisecond or two.
_TOGETHER = 1024 if which.compiled() is None else 4096


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
# Of tasks that are done, or whose own coroutine awaits nothing but grpcio's core to its end: they need
# not be looked at again, whatever they wait for. More than half of the tasks are like that.
SETTLED = Standing(operation="(settled)")

# The future that a task waits for, None if that does not matter; what its place tells; and the direction
# it is in.
_Known = tuple["weakref.ref[Any] | None", Standing, "weakref.ref[Any] | None"]
_Reference = weakref.ref["asyncio.Task[Any]"]


# A standing, the tasks that have it, and their directions, if they are in any.
Recalled = tuple[Standing, list["asyncio.Task[Any]"], list[Direction]]


class Memory:
    """What one look at the tasks of `loops` remembers of the last one, and leaves to the next.

    A task is known by the weak reference that asyncio has to it: no other task will ever have that.
    The caller holds all `streams` up to the end of the look; None if it does not know them.
    """

    _before: dict[_Reference, _Known]

    def __init__(
        self, loops: set[asyncio.AbstractEventLoop], streams: list[Stream] | None = None
    ) -> None:
        now = monotonic()
        last, its, known, stacks = _last
        self._loops, self._ids, self._streams = loops, set(map(id, loops)), streams
        if not its <= self._ids:  # each task in it has to be of one of `loops`
            known = None
        self._is_kept = now - last < _SECONDS  # one look alone leaves nothing: that takes time, too
        # What is the same for many parties: it is known by its identity that nothing has changed.
        self.stacks: Stacks = dict(stacks) if self._is_kept and len(stacks) < _STACKS else {}
        self._waited: dict[int, tuple[_Reference, object]] = {}
        self._after: dict[_Reference, _Known] = {}
        self._before = known if type(known) is dict else {}
        compiled = which.compiled()
        self._compiled = None if compiled is None or not self._is_kept else _taken(compiled, known)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()  # a look that fails, too: until then the futures and loops of the program are held

    def looked_at(
        self, fresh: list[asyncio.Task[Any]], crowd: Any = None, time: float = 0.0
    ) -> Iterator[Recalled]:
        """Yield the tasks of the loops that have not gone on, by their standing.

        Add the others to `fresh`. With the compiled core, a `crowd` has those noted that are in a
        direction, at this `time`; they are not yielded unless they handle an RPC.
        """
        tables = tables_of_tasks(self._loops)
        noting = () if crowd is None else (crowd, time)
        yield from self._looked_at(tables, fresh, noting)
        if any(type(table) is list and table for table in tables):
            # An eager task may have become a scheduled one meanwhile, and be in both tables.
            fresh[:] = {id(task): task for task in fresh}.values()

    def _looked_at(
        self, tables: Sequence[Any], fresh: list[asyncio.Task[Any]], noting: tuple[Any, ...]
    ) -> Iterator[Recalled]:
        if self._compiled is not None:
            count = self._compiled.meet(tuple(tables), self._loops, self._streams)
            for some in slices_of(range(count), _TOGETHER):
                yield from self._compiled.recalled(some[0], len(some), fresh, *noting)
            return
        references = [reference for table in tables for reference in table.copy()]
        for part in slices_of(references, _TOGETHER):
            yield from self.recalled(part, fresh)

    def recalled(
        self, references: Sequence[_Reference], fresh: list[asyncio.Task[Any]]
    ) -> Iterable[Recalled]:
        """Return the same of the tasks that `references` lead to."""
        if not self._is_kept:
            fresh += tasks_among(references, self._loops)
            return ()
        if self._compiled is None:
            return self.recalled_in_python(references, fresh)
        count = self._compiled.meet((list(references),), self._loops)
        found: list[Recalled] = self._compiled.recalled(0, count, fresh)
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
            known = before.get(reference)
            if known is not None and known[1] is SETTLED:
                after[reference] = known
                continue
            if future is None or known is None or known[0] is None:
                known = None
            # A local variable of the task holds the direction, unless it has gone on just now.
            inside = None if known is None or known[2] is None else (known[2](),)
            if known is None or known[0]() is not future or inside == (None,):  # type: ignore[misc]
                if task.done():
                    after[reference] = None, SETTLED, None
                elif task.get_loop() in self._loops:
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
        if self._compiled is not None:
            self._compiled.note(tasks, standing, directions)
            return
        refs: Any = map(weakref.ref, directions) if directions else repeat(None)
        now = awaited_by_tasks(tasks)
        for task, future, direction in zip(tasks, now, refs, strict=False):
            reference, before = self._waited[id(task)]
            if standing is SETTLED:
                self._after[reference] = None, standing, None
            elif type(future) is asyncio.Future and before is future:
                self._after[reference] = weakref.ref(future), standing, direction

    def leave(self) -> None:
        """Leave what is known to the next look."""
        known: Any = self._after
        if self._compiled is not None:
            self._compiled.leave()
            known = self._compiled
        _last[:] = monotonic(), self._ids, known, self.stacks if self._is_kept else {}
        self._waited, self._streams = {}, None


def _taken(compiled: Any, known: Any) -> Any:
    """Return what the compiled core remembers, which no other look has meanwhile."""
    if type(known) is not compiled.Recollection or not known.take():
        known = compiled.Recollection(NOWHERE, SETTLED, AWAITED, asyncio.Future)
        known.take()
    return known


# When the last look was, at which loops, by their identity, and what it has left of tasks and stacks.
_last: list[Any] = [float("-inf"), set(), {}, {}]
