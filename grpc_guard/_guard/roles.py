"""Which party is inside a direction and which wait for it, by the frames of a thread or task.

A frame of marked code (``operations.py``) whose local ``direction`` is a direction belongs to its
owner, unless its local ``owns`` says otherwise: then it is on its way in, let through beside
the owner, or waiting for its turn. What shows no frame *stands* among the others: noted.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

from .._catalogue.clock import monotonic
from .._catalogue.cpython import variables_of
from .._core.operations import (
    CLAIMED,
    COMING,
    IDENTITIES,
    ITERATING,
    NOTED,
    ONLOOKERS,
    is_outermost,
    iterates,
    operation_in,
    operation_of,
    progress,
)
from .._core.stream import Direction, Stream
from .._findings.records import Frame
from .._findings.stacks import fold
from .._findings.waiters import await_chain, links_of
from .noted import Standing, frames_of_task

_TURN = "turn"  # the operation of a party that waits in line


class Role(NamedTuple):
    """What a party has to do with one direction: it owns it, or waits for its turn.

    ``frames``, innermost first, are those that show where the party is. ``is_timed`` tells
    that ``direction.since`` is of this operation; else it has only just begun.
    """

    direction: Direction
    operation: str
    is_owner: bool
    frames: Sequence[FrameType]
    is_timed: bool = True


def standing_roles(frames: Sequence[FrameType], standing: Iterable[Standing]) -> Iterator[Role]:
    """Yield the roles of the party with these `frames` in what stands among them."""
    for one in standing:
        yield Role(one.direction, one.operation, True, one.shown(frames))


def roles(frames: Sequence[FrameType], standing: Iterable[Standing] = ()) -> Iterator[Role]:
    """Yield the roles of the party with these `frames`, innermost first, and what stands there."""
    yield from standing_roles(frames, standing)
    outside: set[int] = set()  # on its way into these directions, or let through beside the owner
    for index, frame in enumerate(frames):
        code = frame.f_code
        if id(code) not in IDENTITIES:
            continue
        names = variables_of(frame)
        direction = names.get("direction")
        if not issubclass(type(direction), Direction):
            continue  # the operation has only begun
        assert isinstance(direction, Direction)
        outer = frames[index + 1 :]
        come = progress(frame)
        if id(code) in ONLOOKERS or not names.get("owns", True):
            if IDENTITIES[id(code)] == _TURN and id(direction) not in outside:
                ticket = names.get("ticket")
                operation = operation_of(code, names) if ticket is None else ticket.operation
                yield Role(direction, operation, False, outer)
            elif come == CLAIMED and direction.stream.handler is not None:  # about to yield
                at = frames_at_yield(direction.stream)
                yield Role(direction, operation_of(code, names), True, at, False)
            if is_outermost(id(code), direction):
                outside.discard(id(direction))
            else:
                outside.add(id(direction))
        elif id(direction) in outside:  # the method of the proxy; further out, an owner may be
            outside.remove(id(direction))  # interrupted
        elif come != COMING:
            # A user's iterator runs inside the operation, and its frames tell where it is;
            # inside any other operation there is only grpcio.
            inner = frames[:index] if iterates(code, names) else ()
            yield Role(direction, operation_of(code, names), True, [*inner, *outer], come == NOTED)


def held(direction: Direction) -> float:
    """Return for how many seconds the operation in progress has been there."""
    return max(0.0, monotonic() - direction.since)


def inside(
    frames: Iterable[FrameType], direction: Direction
) -> tuple[str, float, tuple[Frame, ...]] | None:
    """Return operation, seconds and folded stack if `frames` (innermost first) own `direction`."""
    inner: list[FrameType] = []
    rest = iter(frames)
    is_outside = False  # on its way into the direction, or let through beside the owner
    for frame in rest:
        is_marked = id(frame.f_code) in IDENTITIES
        if is_marked and (names := variables_of(frame)).get("direction") is direction:
            if id(frame.f_code) in ONLOOKERS or not names.get("owns", True):
                is_outside = not is_outermost(id(frame.f_code), direction)
                continue
            if is_outside:  # the method of the proxy; further out, an owner may be interrupted
                is_outside = False
                continue
            come = progress(frame)
            if come == COMING:
                continue
            seconds = held(direction) if come == NOTED else 0.0
            # A user's iterator runs inside the operation, and its frames tell where it is;
            # inside any other operation there is only grpcio.
            users = inner if iterates(frame.f_code, names) else []
            return operation_in(frame), seconds, fold([*users, *rest])
        inner.append(frame)
    return None


def inside_task(
    coroutine: Any, direction: Direction
) -> tuple[str, float, tuple[Frame, ...]] | None:
    """Return the same of a task that runs `coroutine`."""
    if direction.inside is None:
        return inside(reversed(list(await_chain(coroutine))), direction)
    frames, standing = frames_of_task(links_of(coroutine))
    for one in standing:
        if one.direction is direction:
            return one.operation, held(direction), fold(one.shown(frames))
    return inside(frames, direction)


# Local variables of operations that say more of the role of their party than the place does.
_TELLING = frozenset(("owns", "ticket", "operation"))


def owner_at(frames: Sequence[FrameType]) -> tuple[int, Role] | None:
    """Return the role of the party with these `frames`, if each party at the same places has it.

    And the index of the frame whose local ``direction`` is where. None if it takes more to tell.
    """
    marked = [index for index, frame in enumerate(frames) if id(frame.f_code) in IDENTITIES]
    if len(marked) != 1:
        return None
    code = frames[marked[0]].f_code
    names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    if id(code) in ONLOOKERS or id(code) in ITERATING or not _TELLING.isdisjoint(names):
        return None
    found = list(roles(frames))
    return (marked[0], found[0]) if found else None


def frames_at_yield(stream: Stream) -> list[FrameType]:
    """Return where the async generator that handles `stream` is: it shows no frame at a yield."""
    assert stream.handler is not None
    return list(await_chain(stream.handler[1]()))[::-1]
