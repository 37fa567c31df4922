"""Who is inside a direction and who waits for it, read off the frames of a thread or task.

A frame of marked code (``operations.py``) whose local ``direction`` is a direction belongs to its
owner, unless its local ``owns`` says otherwise: then it is on its way in, let through beside
the owner, or waiting for its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NamedTuple

from .._core.operations import IDENTITIES, ONLOOKERS, operation_of
from .._core.stream import Direction

_TURN = "turn"  # the operation of whoever waits in line


class Role(NamedTuple):
    """What a party has to do with one direction: it owns it, or waits for its turn.

    ``frames``, innermost first, are those that show where the party is.
    """

    direction: Direction
    operation: str
    is_owner: bool
    frames: Sequence[FrameType]


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
        if id(code) in ONLOOKERS or not names.get("owns", True):
            if IDENTITIES[id(code)] == _TURN and id(direction) not in outside:
                ticket = names.get("ticket")
                operation = operation_of(code, names) if ticket is None else ticket.operation
                yield Role(direction, operation, False, outer)
            outside.add(id(direction))
        elif id(direction) in outside:  # the method of the proxy; further out, an owner may be
            outside.remove(id(direction))  # interrupted
        else:
            # A user's iterator runs inside the operation, and its frames tell where it is;
            # inside any other operation there is only grpcio.
            inner = frames[:index] if "iterated" in names else ()
            yield Role(direction, operation_of(code, names), True, [*inner, *outer])
