"""Who is inside which direction, of thousands at once: noted together, in the core that runs."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from .._core import which
from .._core.stream import Direction, Stream
from .._findings.parties import names_of_tasks
from .._findings.records import Owner
from .records import new_owner
from .remembered import Standing

_since, _stream = operator.attrgetter("since"), operator.attrgetter("stream")


class Tables(NamedTuple):
    """What a look has noted, by the identity of directions: those, and who owns them."""

    directions: dict[int, Direction]
    holders: dict[int, Any]
    owners: dict[int, Owner]


def note_owners(
    tables: Tables,
    tasks: Sequence[asyncio.Task[Any]],
    standing: Standing,
    directions: Sequence[Direction],
    time: float,
) -> None:
    """Note `tasks`, all of one standing, as the owners of `directions`; `time` is that of the look."""
    names, compiled = names_of_tasks(tasks), which.compiled()
    if compiled is not None:
        said = "task", standing.operation, standing.stack, "inside", standing.is_timed, time
        compiled.note_owners(tasks, names, directions, new_owner, *said, *tables)
        return
    sinces = map(_since, directions) if standing.is_timed else repeat(time)
    held = [max(0.0, time - since) for since, _ in zip(sinces, directions, strict=False)]
    kinds, operations, stacks = map(repeat, ("task", standing.operation, standing.stack))
    relations, starts = map(repeat, ("inside", None))
    owners = map(new_owner, kinds, names, operations, held, stacks, relations, starts)
    keys = list(map(id, directions))
    noted: tuple[Iterable[Any], ...] = directions, tasks, owners
    every: tuple[dict[int, Any], ...] = tables
    for table, values in zip(every, noted, strict=True):
        table.update(zip(keys, values, strict=True))


def strays(seen: list[Direction], streams: dict[int, Stream]) -> Iterable[Direction]:
    """Return those of `seen` that their streams may not know; add what `streams` lacks, by identity."""
    compiled = which.compiled()
    if compiled is not None:
        found: list[Direction] = compiled.strays(seen, streams)
        return found
    its = list(map(_stream, seen))
    streams.update(zip(map(id, its), its, strict=True))
    return seen
