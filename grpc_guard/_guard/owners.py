"""The owner of a direction: searched when it is needed, never stored on the hot path.

The proxies' methods mark themselves with :func:`operation`: a frame of marked code whose
local ``direction`` is the direction in question is the owner's (unless its local ``owns`` says
otherwise). An operation of the compiled core shows no frame: noted.py. Threads show their frames
in ``sys._current_frames()``. Tasks are searched down their await chains. Suspended greenlets are in
neither: if gevent is loaded, they are found among the live objects.
"""

from __future__ import annotations

import asyncio
import weakref
from _thread import get_ident
from collections.abc import Iterator
from types import CoroutineType, FrameType
from typing import Any

from .._catalogue import cpython_loops
from .._catalogue.clock import monotonic
from .._catalogue.cpython import frames_of_threads
from .._catalogue.cpython_awaits import awaited_by_coroutine
from .._catalogue.cpython_loops import name_in_task, running_loop_now
from .._catalogue.nouns import Way
from .._core.extras import Ticket, Turns
from .._core.operations import IDENTITIES
from .._core.stream import Direction, Stream
from .._findings.origins import is_of_program, site_of
from .._findings.parties import (
    name_of_task,
    name_of_thread,
    suspended_greenlets,
    task_at,
    thread_at,
)
from .._findings.records import NOT_FOUND, Frame, Owner
from .._findings.stacks import fold, line_in, other_threads, outward
from .._findings.waiters import ASKED_AT, CHAIN_LENGTH, await_chain, idle_type
from .noted import owner_noted
from .roles import frames_at_yield, held, inside, inside_task, roles


def owner_of(direction: Direction) -> Owner | None:
    """Describe the party inside `direction`; None if it is free.

    A thread that has left during the search is still named, from its note.
    """
    if direction.is_free:
        return None
    return owner_with_frame(direction) or owner_without_frame(direction)


def owner_with_frame(direction: Direction) -> Owner | None:
    """Describe the owner whose frames show that it is inside `direction`; None if none do."""
    return _by_thread(direction) if direction.loop_thread is None else _by_task(direction)


def last_owner_of(direction: Direction) -> tuple[Owner | None, bool]:
    """Describe the party inside `direction`, or the thread that was there a moment ago.

    Also tell whether it is a task with a cancellation that is not yet delivered.
    """
    found = None if direction.loop_thread is None else _owning_task(direction)
    if found is not None:
        return task_at(*found), cpython_loops.is_being_cancelled(found[0])
    owner = owner_of(direction) if direction.loop_thread is None else None
    if owner is None and not (direction.is_free and not _is_another(direction.owner)):
        owner = owner_without_frame(direction)
    return owner, False


def _is_another(owner: object) -> bool:
    """Tell whether `owner` is a noted thread other than the caller's."""
    return isinstance(owner, int) and owner != get_ident()


def party_met(turns: Turns, ticket: Ticket) -> Ticket | None:
    """Return the ticket of the party inside, or next, when the caller, with `ticket`, arrives.

    None if it is unknown: it has no ticket, or has left and was the caller itself.
    """
    inside = turns.inside
    if not turns.is_free:
        return inside
    first = ticket
    for first in turns.queue:  # noqa: B007  # the first alone, in one step
        break
    if first is not ticket:
        return first
    is_own = inside is not None and inside.ident == ticket.ident and inside.task is None
    return None if is_own else inside


def party_to_wait(direction: Direction, met: Ticket | None) -> tuple[Owner | None, bool]:
    """Describe the party that an operation has `met`, as last_owner_of() does."""
    if met is None:
        return last_owner_of(direction)
    if met.task is not None:
        direction.owner = met.task  # the search begins there
    owner = owner_of(direction)
    if owner is not None and owner.operation == met.operation:
        return owner, is_being_cancelled(met)
    # It waits as well, or has just left.
    return party_with(met, monotonic()), is_being_cancelled(met)


def party_with(ticket: Ticket, now: float) -> Owner:
    """Describe the party that has `ticket`; ``held_seconds`` is for how long."""
    if ticket.task is None:
        kind, name = name_of_thread(ticket.ident)
    else:
        task = ticket.task()
        kind, name = "task", NOT_FOUND if task is None else name_in_task(task)
    place, stack = ticket.place, _stack_with(ticket)
    if not stack and place is not None and is_of_program(place):
        stack = (site_of(place),)
    return Owner(kind, name, ticket.operation, max(0.0, now - ticket.since), stack)


def _stack_with(ticket: Ticket) -> tuple[Frame, ...]:
    """Return the stack of the party that has `ticket`, if it is at that line; else nothing."""
    if ticket.place is None:
        return ()
    # A task stands at another instruction of the line than where it called.
    code, line = ticket.place[0], site_of(ticket.place).line
    task = None if ticket.task is None else ticket.task()
    frames = frames_of_threads() if ticket.task is None else {}
    if ticket.task is None:
        chain = list(outward(frames.get(ticket.ident)))
    else:
        chain = [] if task is None else [*await_chain(task.get_coro())][::-1]
    try:
        for index, frame in enumerate(chain):
            if frame.f_code is code and frame.f_lineno == line:
                return fold(chain[index:])
        return ()
    finally:
        frames.clear()  # this very frame may be in there
        chain.clear()


def is_being_cancelled(met: Ticket | None) -> bool:
    """Tell whether `met` is the ticket of a task with a cancellation that is not yet delivered."""
    task = None if met is None or met.task is None else met.task()
    return task is not None and cpython_loops.is_being_cancelled(task)


def waiting_for(direction: Direction) -> list[Owner]:
    """Describe the parties that wait for their turn in `direction`, in mode ``serialize``."""
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


# Threads and greenlets


def _by_thread(direction: Direction) -> Owner | None:
    if direction.operation is not None:
        return owner_noted(direction)
    frames = frames_of_threads()
    try:
        # The thread that is noted as the owner is searched first.
        for ident in sorted(frames, key=lambda ident: ident != direction.owner):
            found = inside(outward(frames[ident]), direction)
            if found is not None:
                return thread_at(ident, frames[ident], *found)
    finally:
        frames.clear()  # this very frame is in there: in a cycle it would keep the call alive
    for name, frame in suspended_greenlets():
        found = inside(outward(frame), direction)
        if found is not None:
            return Owner("greenlet", name, *found)
    return None


# Tasks


def _by_task(direction: Direction) -> Owner | None:
    found = _owning_task(direction)
    return None if found is None else task_at(*found)


def _owning_task(
    direction: Direction,
) -> tuple[asyncio.Task[Any], str, float, tuple[Frame, ...]] | None:
    loop = direction.stream.loop
    if loop is None:
        return None
    idle = idle_type(loop)
    running = running_loop_now()
    current = asyncio.current_task(running) if running is not None else None
    for task in _in_likely_order(direction):
        if task is current:
            continue  # it is the caller
        coroutine = task.get_coro()
        if not _is_in_operation(coroutine, idle):
            continue
        found = inside_task(coroutine, direction)
        if found is not None:
            direction.owner = weakref.ref(task)
            _remember(coroutine)
            return task, *found
    return None


# The outermost code of tasks that were found to be owners, by identity: if there are many
# tasks, those that run it are searched first. An identity that is reused only costs time.
_outermost: set[int] = set()
_OUTERMOST_KEPT = 64


def _remember(coroutine: Any) -> None:
    if len(_outermost) >= _OUTERMOST_KEPT:
        _outermost.clear()
    _outermost.add(id(getattr(coroutine, "cr_code", None)))


def _in_likely_order(direction: Direction) -> Iterator[asyncio.Task[Any]]:
    """Yield the tasks of the loop: first the one in which the owner was found last."""
    noted = direction.owner
    last = noted() if isinstance(noted, weakref.ref) else None
    if last is not None and not last.done():
        yield last
    tasks = asyncio.all_tasks(direction.stream.loop)
    known = _outermost
    likely = [t for t in tasks if id(getattr(t.get_coro(), "cr_code", None)) in known]
    yield from likely
    yield from tasks.difference(likely)


def _is_in_operation(awaitable: Any, idle: type) -> bool:
    """Tell whether an operation of any stream may be among what `awaitable` awaits.

    It makes no frames for coroutines: there may be ten of them in each of 10,000 tasks.
    """
    for _ in range(CHAIN_LENGTH):
        if type(awaitable) is not CoroutineType:
            break
        if id(awaitable.cr_code) in IDENTITIES:
            return True
        awaitable = awaited_by_coroutine(awaitable)
    return awaitable is not None and type(awaitable) is not idle


def at_yield(stream: Stream) -> tuple[Frame, ...]:
    """Return where the async generator that handles `stream` is; it shows no frame at a yield."""
    return fold(frames_at_yield(stream))


def is_unknown(owner: Owner | None) -> bool:
    """Tell whether no task was found that could be `owner`."""
    return owner is not None and owner.kind == "task" and owner.name == NOT_FOUND


def _owner_in_c(direction: Direction, operation: Any) -> Owner:
    """Describe the owner by its `operation` alone, which runs just now, or which no task drives."""
    task = asyncio.current_task(direction.stream.loop) if operation.cr_running else None
    stack = line_in(getattr(operation, ASKED_AT))
    if task is None:
        return Owner("task", NOT_FOUND, operation.operation, held(direction), stack)
    return task_at(task, operation.operation, held(direction), stack)


def owner_without_frame(direction: Direction) -> Owner:
    """Describe an owner whose operation shows no frame."""
    if direction.loop_thread is not None and direction.inside is not None:
        return _owner_in_c(direction, direction.inside)
    handler = direction.stream.handler
    if handler is not None and direction.way == Way.WRITE:
        task = handler[0]()
        if task is not None:
            stack = at_yield(direction.stream)
            return task_at(task, "yield", held(direction), stack)
    operation = direction.way.value
    if not isinstance(direction.owner, int):
        return Owner("task", NOT_FOUND, operation, held(direction))
    return Owner(*name_of_thread(direction.owner), operation, held(direction))
