"""The chains of awaits of many tasks, followed together: thousands of them wait at the same lines.

A group of tasks goes from link to link in a few calls, and parts where the chains do. What is
found for one task of a group is found for all of them, as far as their code says it.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat, starmap
from operator import attrgetter, is_
from types import CoroutineType, FrameType
from typing import Any, NamedTuple

from .._core import which
from .._core.records import AioOperation
from .._findings.waiters import CHAIN_LENGTH, WITHOUT_CODE, driven_by, frame_of, is_driven
from .._guard.noted import Standing, frames_of_task
from .lines import CORE, Lines

_frame, _instruction = attrgetter("cr_frame"), attrgetter("f_lasti")
_owns, _shared = attrgetter("owns"), attrgetter("is_shared")
_FIELDS = Standing._fields
_STANDING = [attrgetter(name) for name in _FIELDS[1:]]
_FEW = 2  # tasks, of which each is followed by itself in less time

Columns = list[Sequence[Any]]  # all of the same length: an entry for each task


class Group(NamedTuple):
    """Tasks whose chains of awaits run through the same code.

    ``kinds`` says what that is, in bits: CORE alone where the first link awaits grpcio's core.
    ``shown`` are the links that say something, outermost first, of all tasks each.
    """

    tasks: Sequence[Any]
    kinds: int
    shown: Columns


def groups(tasks: Sequence[Any], lines: Lines, ends: Collection[int]) -> Iterator[Group]:
    """Return `tasks` in groups; `ends` as for Lines.shown()."""
    compiled = which.compiled()
    if compiled is None:
        return groups_in_python(tasks, lines, ends)
    reader = partial(lines.reader, ends=ends)
    known = CHAIN_LENGTH, CORE, reader, lines.kind, WITHOUT_CODE, is_driven
    return starmap(Group, compiled.chains(tasks, *known))


def groups_in_python(tasks: Sequence[Any], lines: Lines, ends: Collection[int]) -> Iterator[Group]:
    """Yield the same without the compiled core."""
    todo: list[tuple[int, int, Columns]] = [(0, 0, [[task.get_coro() for task in tasks], tasks])]
    while todo:
        depth, kinds, columns = todo.pop()
        links = columns[0]
        if len(links) <= _FEW:
            for link, *own in zip(*columns, strict=True):
                more, rest = lines.shown(link, ends)
                if depth > 0:
                    more &= ~CORE
                yield Group(own[:1], kinds | more, [[one] for one in (*own[1:], *rest)])
            continue
        types = list(map(type, links))
        if not _is_one(types):
            todo += [(depth, kinds, part) for part in _parted(map(id, types), columns)]
            continue
        read = None if depth == CHAIN_LENGTH else lines.reader(links[0], ends)
        if read is None:
            yield Group(columns[1], kinds, columns[2:])
            continue
        if read is WITHOUT_CODE:
            todo.append((depth + 1, kinds, [driven_by(links), *columns[1:]]))
            continue
        code_of, awaited_by = read
        codes = list(map(code_of, links))
        columns = [list(map(awaited_by, links)), *columns[1:], links, codes]
        for part in [columns] if _is_one(codes) else _parted(map(id, codes), columns):
            code, links = part.pop()[0], part.pop()
            kind = lines.kind(code, links[0])
            if kind & CORE:
                yield Group(part[1], CORE if depth == 0 else kinds, part[2:])
                continue
            if kind:
                part.append(links)
            todo.append((depth + 1, kinds | kind, part))


class Place(NamedTuple):
    """Tasks that are at the same instructions; ``frames`` innermost first, of all tasks each.

    ``standing`` are the operations that show no frame and stand among those: the same ones of each. Of
    all tasks each, too: where it stands, its direction and its name.
    """

    tasks: Sequence[Any]
    frames: Columns
    standing: Sequence[Columns]

    def frames_of(self, index: int) -> list[FrameType]:
        """Return the frames of one task."""
        return [column[index] for column in self.frames]

    def standing_of(self, index: int) -> list[Standing]:
        """Return what stands among the frames of one task."""
        return [Standing(*(column[index] for column in columns)) for columns in self.standing]


def places(group: Group) -> Iterator[Place]:
    """Yield the tasks of a group by the places where they are."""
    frames: Columns = []
    standing: list[Columns] = []
    is_whole = True  # else some have gone on meanwhile, or show no frame
    for links in reversed(group.shown):
        if type(links[0]) is AioOperation:
            at = repeat(len(frames), len(links))
            standing.append([list(at), *(list(map(read, links)) for read in _STANDING)])
            is_whole = is_whole and all(map(_owns, links))  # afterwards: who has left knows none
        else:
            read = _frame if type(links[0]) is CoroutineType else frame_of
            frames.append(list(map(read, links)))
            is_whole = is_whole and None not in frames[-1]
    if not is_whole:
        for task, *links in zip(group.tasks, *group.shown, strict=True):
            seen, among = frames_of_task(links)
            yield Place([task], _columns_of(seen), [_columns_of(one) for one in among])
        return
    at_what: Columns = [list(map(_instruction, column)) for column in frames]
    for _, directions, operations in standing:
        at_what += list(map(_shared, directions)), operations
    columns = [group.tasks, *frames, *itertools.chain.from_iterable(standing)]
    if all(column.count(column[0]) == len(column) for column in at_what):
        parts = [columns]
    else:
        parts = list(_parted(zip(*at_what, strict=True), columns))
    for tasks, *own in parts:
        rest = own[len(frames) :]
        stand = [rest[at : at + len(_FIELDS)] for at in range(0, len(rest), len(_FIELDS))]
        yield Place(tasks, own[: len(frames)], stand)


def _columns_of(one: Iterable[Any]) -> Columns:
    return [[value] for value in one]


def _is_one(objects: Sequence[object]) -> bool:
    """Tell whether all are the same object; they may have a hash and a comparison of their own."""
    return all(map(is_, objects, repeat(objects[0])))


def _parted(keys: Iterator[Hashable], columns: Columns) -> Iterator[Columns]:
    """Yield the columns of those entries that have the same key."""
    indexes: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys):
        indexes.setdefault(key, []).append(index)
    for some in indexes.values():
        yield [[column[index] for index in some] for column in columns]
