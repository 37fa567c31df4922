"""Who is inside which direction, of thousands at once: noted together, in the core that runs."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Protocol

from .._core import which
from .._core.stream import Direction, Stream
from .._findings.parties import names_of_tasks, shown_name
from .._findings.records import Frame, Owner
from .records import new_owner

_since, _stream = operator.attrgetter("since"), operator.attrgetter("stream")


class Noting(Protocol):
    """The tasks that were seen in directions, as far as they could be noted together."""

    def note(
        self,
        tasks: Sequence[asyncio.Task[Any]],
        directions: Sequence[Direction],
        operation: str,
        stack: tuple[Frame, ...],
        is_timed: bool,
        time: float,
        /,
    ) -> None:
        """Note `tasks`, each in one of `directions`; `time` is that of the look. The last note counts."""

    def owner(self, direction: Direction, /) -> Owner | None:
        """Describe the task that was seen in `direction`."""

    def holder(self, direction: Direction, /) -> asyncio.Task[Any] | None:
        """Return this task."""

    def forget(self, direction: Direction, /) -> None:
        """Note nobody in `direction`."""

    def held_by(self, tasks: set[int], /) -> list[Direction]:
        """Return the directions in which tasks with these identities were seen."""

    def directions(self) -> list[Direction]:
        """Return the directions of all."""


class Crowd:
    """The same, in Python."""

    def __init__(self) -> None:
        self._noted: dict[int, tuple[Direction, asyncio.Task[Any], Owner]] = {}

    def note(
        self,
        tasks: Sequence[asyncio.Task[Any]],
        directions: Sequence[Direction],
        operation: str,
        stack: tuple[Frame, ...],
        is_timed: bool,
        time: float,
        /,
    ) -> None:
        """See Noting."""
        sinces = map(_since, directions) if is_timed else repeat(time)
        held = [max(0.0, time - since) for since, _ in zip(sinces, directions, strict=False)]
        kinds, operations, stacks = map(repeat, ("task", operation, stack))
        relations, starts = map(repeat, ("inside", None))
        names = names_of_tasks(tasks)
        owners = map(new_owner, kinds, names, operations, held, stacks, relations, starts)
        noted = zip(directions, tasks, owners, strict=False)
        self._noted.update(zip(map(id, directions), noted, strict=False))

    def owner(self, direction: Direction, /) -> Owner | None:
        """See Noting."""
        noted = self._noted.get(id(direction))
        return None if noted is None else noted[2]

    def holder(self, direction: Direction, /) -> asyncio.Task[Any] | None:
        """See Noting."""
        noted = self._noted.get(id(direction))
        return None if noted is None else noted[1]

    def forget(self, direction: Direction, /) -> None:
        """See Noting."""
        self._noted.pop(id(direction), None)

    def held_by(self, tasks: set[int], /) -> list[Direction]:
        """See Noting."""
        return [one for one, task, _ in self._noted.values() if id(task) in tasks]

    def directions(self) -> list[Direction]:
        """See Noting."""
        return [one for one, _, _ in self._noted.values()]


def new_crowd() -> Noting:
    """Return an empty one, of the core that runs."""
    compiled = which.compiled()
    found: Noting = Crowd() if compiled is None else compiled.Crowd(new_owner, shown_name)
    return found


def gathered(listed: list[Stream], crowd: Noting, others: list[Direction]) -> list[Direction]:
    """Add the streams that somebody was seen in to those that are `listed`, and leave each once.

    Return those of the directions of the `crowd` and the `others` that their streams may not know.
    """
    compiled = which.compiled()
    if compiled is not None:
        strays: list[Direction] = compiled.gather(listed, crowd, others)
        return strays
    seen = [*crowd.directions(), *others]
    listed[:] = {id(stream): stream for stream in [*listed, *map(_stream, seen)]}.values()
    return seen
