"""Owners whose operations show no frame, as those of the compiled core: found by what is noted.

A thread or greenlet is known by the frame that called its operation, and a task by the operation
among what it awaits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from .._catalogue.clock import monotonic
from .._catalogue.cpython import frames_of_threads
from .._core.records import AioOperation, key_of, operations_in_progress
from .._core.stream import Direction
from .._findings.parties import suspended_greenlets, thread_at
from .._findings.records import Owner
from .._findings.stacks import fold, outward
from .._findings.waiters import frame_of

Noted = Mapping[int | None, Iterable[Direction]]  # by the key of the frame that called

_TRIES = 3  # the owner may leave, and another one come, while it is looked for


class Standing(NamedTuple):
    """An operation in progress that shows no frame, and where among a party's it stands.

    ``frames[at]`` (innermost first) has called it, and those before are inside of it.
    """

    at: int
    direction: Direction
    operation: str

    def shown(self, frames: Sequence[FrameType]) -> list[FrameType]:
        """Return those of `frames` that tell where the party is.

        A user's iterator runs inside the operation, and its frames tell where it is; inside any
        other operation there is only grpcio.
        """
        return list(frames[self.at if self.direction.is_shared else 0 :])


def noted_directions() -> dict[int | None, list[Direction]]:
    """Return the sync directions whose owners show no frame, by the key of the frame that called.

    None is that of all for which nothing in Python did.
    """
    found: dict[int | None, list[Direction]] = {}
    for direction in operations_in_progress():
        found.setdefault(direction.caller, []).append(direction)
    return found


def standing_among(
    frames: Sequence[FrameType],
    noted: Noted,
    ident: int | None = None,
) -> list[Standing]:
    """Return in which of the `noted` directions the thread `ident`, or a greenlet, with `frames` is."""
    if not noted:
        return []
    callers = [index for index, key in enumerate(map(key_of, frames)) if key in noted]
    return standing_at(callers, frames, noted, ident)


def standing_at(
    callers: Iterable[int],
    frames: Sequence[FrameType],
    noted: Noted,
    ident: int | None,
) -> list[Standing]:
    """Return the same where it is known at which indexes those of the `frames` are that may have called."""
    found = []
    for index in callers:
        key = key_of(frames[index])
        for direction in noted.get(key, ()):  # a frame that has ended meanwhile has another key
            operation = direction.operation
            if operation is not None and direction.caller == key:  # else it has left
                found.append(Standing(index, direction, operation))
    for direction in noted.get(None, ()):
        operation = direction.operation
        if operation is not None and direction.caller is None and direction.owner == ident:
            found.append(Standing(len(frames), direction, operation))
    return found


def frames_of_task(links: Iterable[Any]) -> tuple[list[FrameType], list[Standing]]:
    """Return the frames, innermost first, of a chain of awaits, and what stands among them."""
    frames: list[FrameType] = []
    standing: list[Standing] = []
    for link in reversed(list(links)):
        if type(link) is AioOperation:
            found = Standing(len(frames), link.direction, link.operation)
            if link.owns:  # asked afterwards: one that has left does not know its direction
                standing.append(found)
            continue
        frame = frame_of(link)
        if frame is not None:
            frames.append(frame)
    return frames, standing


def owner_noted(direction: Direction) -> Owner | None:
    """Describe the thread or greenlet in a sync `direction`, whose operation shows no frame.

    None if it has left meanwhile.
    """
    for _ in range(_TRIES):
        noted = {direction.caller: [direction]}
        since, ident = direction.since, direction.owner
        frames = frames_of_threads()
        chain: list[FrameType] = []
        try:
            for one in sorted(frames, key=lambda one: one != ident):
                chain = list(outward(frames[one]))
                for found in standing_among(chain, noted, one):
                    stack = fold(found.shown(chain))
                    return thread_at(one, frames[one], found.operation, _held(since), stack)
        finally:
            frames.clear()  # this very frame is in there: in a cycle it would keep the call alive
            chain = []
        for name, frame in suspended_greenlets():
            chain = list(outward(frame))
            for found in standing_among(chain, noted):
                stack = fold(found.shown(chain))
                return Owner("greenlet", name, found.operation, _held(since), stack)
        if direction.operation is None:
            break
    return None


def _held(since: float) -> float:
    return max(0.0, monotonic() - since)
