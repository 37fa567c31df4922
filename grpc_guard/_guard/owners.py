"""Who is inside a direction, found when somebody asks and never stored on the hot path.

What a frame says of its party is in roles.py. Threads show their frames in ``sys._current_frames()``; tasks are searched down their await chains; greenlets, which
neither shows, are found among the live objects when gevent is loaded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from time import monotonic
from types import FrameType
from typing import Any

from .._catalogue.cpython import frames_of_threads
from .._catalogue.cpython_loops import is_being_cancelled, running_loop
from .._catalogue.nouns import Way
from .._core.operations import OPERATIONS
from .._core.stream import Direction, Stream
from .._findings.parties import (
    name_of_task,
    name_of_thread,
    suspended_greenlets,
    task_at,
    thread_at,
)
from .._findings.records import Frame, Owner
from .._findings.stacks import fold, other_threads, outward
from .._findings.waiters import await_chain
from .roles import roles


def owner_of(direction: Direction) -> Owner | None:
    """Describe who is inside `direction`; None if nobody is.

    For a thread that has left while it was being looked for, what it noted still names it.
    """
    if direction.is_free:
        return None
    found = _by_thread(direction) if direction.loop_thread is None else _by_task(direction)
    return found if found is not None else owner_without_frame(direction)


def last_owner_of(direction: Direction) -> tuple[Owner | None, bool]:
    """Describe who is inside `direction`, or the thread that was there a moment ago.

    Tell as well whether it is a task whose cancellation is on its way, not yet delivered.
    """
    found = None if direction.loop_thread is None else _owning_task(direction)
    if found is not None:
        return _describe(direction, *found), is_being_cancelled(found[0])
    owner = owner_of(direction) if direction.loop_thread is None else None
    if owner is None and not (direction.is_free and direction.owner is None):
        owner = owner_without_frame(direction)
    return owner, False


def waiting_for(direction: Direction) -> list[Owner]:
    """Describe those who wait for their turn in `direction`, in mode ``serialize``."""
    if direction.turns is None:
        return []
    found = []
    for kind, name, frames in _everybody(direction):
        for role in roles(frames):
            if role.direction is direction and not role.is_owner:
                found.append(Owner(kind, name, role.operation, None, fold(role.frames)))
    return found


def _everybody(direction: Direction) -> Iterator[tuple[str, str, list[FrameType]]]:
    """Yield each party that could be in `direction`: kind, name, and frames, innermost first."""
    if direction.loop_thread is not None:
        for task in asyncio.all_tasks(direction.stream.loop):
            yield "task", name_of_task(task), [*await_chain(task.get_coro())][::-1]
        return
    for ident, frame in other_threads():
        yield *name_of_thread(ident), list(outward(frame))
    for name, frame in suspended_greenlets():
        yield "greenlet", name, list(outward(frame))


def interrupts_owner(direction: Direction, frame: FrameType) -> bool:
    """Tell whether the owner is further out on the stack of `frame`, the caller's.

    The caller is a signal handler or a finaliser then: the owner cannot go on before it ends.
    """
    return any(
        outer.f_code in OPERATIONS
        and outer.f_locals.get("direction") is direction
        and outer.f_locals.get("owns") is True
        for outer in outward(frame)
    )


def _held(direction: Direction) -> float:
    return max(0.0, monotonic() - direction.since)


# Threads and greenlets


def _by_thread(direction: Direction) -> Owner | None:
    frames = frames_of_threads()
    try:
        # The thread that is noted as the owner is looked at first.
        for ident in sorted(frames, key=lambda ident: ident != direction.owner):
            inside = _inside(outward(frames[ident]), direction)
            if inside is not None:
                return thread_at(ident, frames[ident], inside[0], _held(direction), inside[1])
    finally:
        frames.clear()  # this very frame is in there: in a cycle it would keep the call alive
    for name, frame in suspended_greenlets():
        inside = _inside(outward(frame), direction)
        if inside is not None:
            return Owner("greenlet", name, inside[0], _held(direction), inside[1])
    return None


def _inside(
    frames: Iterable[FrameType], direction: Direction
) -> tuple[str, tuple[Frame, ...]] | None:
    """Return operation and folded stack if `frames` (innermost first) own `direction`."""
    for role in roles(tuple(frames)):
        if role.direction is direction and role.is_owner:
            return role.operation, fold(role.frames)
    return None


# Tasks


def _by_task(direction: Direction) -> Owner | None:
    found = _owning_task(direction)
    return None if found is None else _describe(direction, *found)


def _describe(
    direction: Direction, task: asyncio.Task[Any], operation: str, stack: tuple[Frame, ...]
) -> Owner:
    return task_at(task, operation, _held(direction), stack)


def _owning_task(
    direction: Direction,
) -> tuple[asyncio.Task[Any], str, tuple[Frame, ...]] | None:
    running = running_loop()
    current = asyncio.current_task(running) if running is not None else None
    for task in asyncio.all_tasks(direction.stream.loop):
        if task is current:
            continue  # it is the one that asks
        inside = _inside(reversed(list(await_chain(task.get_coro()))), direction)
        if inside is not None:
            return task, *inside
    return None


def at_yield(stream: Stream) -> tuple[Frame, ...]:
    """Return where the async generator that handles `stream` is; it shows no frame at a yield."""
    assert stream.handler is not None
    return fold(reversed(list(await_chain(stream.handler[1]()))))


def owner_without_frame(direction: Direction) -> Owner:
    """Describe an owner whose operation shows no frame."""
    handler = direction.stream.handler
    if handler is not None and direction.way == Way.WRITE:
        task = handler[0]()
        if task is not None:
            stack = at_yield(direction.stream)
            return task_at(task, "yield", _held(direction), stack)
    operation = direction.way.value
    if direction.owner is None:
        return Owner("task", "(not found)", operation, _held(direction))
    return Owner(*name_of_thread(direction.owner), operation, _held(direction))
