"""Which party is inside a direction and which wait for it, by the frames of a thread or task.

A frame of marked code (``operations.py``) whose local ``direction`` is a direction belongs to its
owner, unless its local ``owns`` says otherwise: then it is on its way in, let through beside
the owner, or waiting for its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NamedTuple

from .._core.operations import (
    CLAIMED,
    COMING,
    IDENTITIES,
    NOTED,
    ONLOOKERS,
    operation_of,
    progress,
)
from .._core.stream import Direction, Stream
from .._findings.waiters import await_chain

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


def roles(frames: Sequence[FrameType]) -> Iterator[Role]:
    """Yield the roles of the party with these `frames`, innermost first."""
    outside: set[int] = set()  # on its way into these directions, or let through beside the owner
    for index, frame in enumerate(frames):
        code = frame.f_code
        if id(code) not in IDENTITIES:
            continue
        names = frame.f_locals
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
            outside.add(id(direction))
        elif id(direction) in outside:  # the method of the proxy; further out, an owner may be
            outside.remove(id(direction))  # interrupted
        elif come != COMING:
            # A user's iterator runs inside the operation, and its frames tell where it is;
            # inside any other operation there is only grpcio.
            inner = frames[:index] if "iterated" in names else ()
            yield Role(direction, operation_of(code, names), True, [*inner, *outer], come == NOTED)


# Local variables of operations that say more of the role of their party than the place does.
_TELLING = frozenset(("owns", "ticket", "operation", "iterated"))


def owner_at(frames: Sequence[FrameType]) -> tuple[int, Role] | None:
    """Return the role of the party with these `frames`, if each party at the same places has it.

    And the index of the frame whose local ``direction`` is where. None if it takes more to tell.
    """
    marked = [index for index, frame in enumerate(frames) if id(frame.f_code) in IDENTITIES]
    if len(marked) != 1:
        return None
    code = frames[marked[0]].f_code
    names = (*code.co_varnames, *code.co_cellvars, *code.co_freevars)
    if id(code) in ONLOOKERS or not _TELLING.isdisjoint(names):
        return None
    found = list(roles(frames))
    return (marked[0], found[0]) if found else None


def frames_at_yield(stream: Stream) -> list[FrameType]:
    """Return where the async generator that handles `stream` is: it shows no frame at a yield."""
    assert stream.handler is not None
    return list(await_chain(stream.handler[1]()))[::-1]
