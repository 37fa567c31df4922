"""Threads and tasks that are in no stream, and the tasks that event loops run at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

from .._catalogue.cpython import threads_by_ident
from .._catalogue.cpython_loops import tables_of_tasks, tasks_among
from .._catalogue.grpcio_rpcs import handled_among
from .._findings.parties import name_of_thread
from .._findings.records import Frame
from .._findings.stacks import ends_in_program
from .._findings.waiters import frame_of, idle_type
from .._findings.whose import LOOP, whose
from .lines import OF_PROGRAM, OPERATION
from .native import native
from .records import ServerSnapshot, TaskSnapshot, ThreadSnapshot
from .sight import Sight

_MOST = 2000  # tasks; each takes some microseconds, and is remembered by nobody


def threads_seen(sight: Sight, servers: Iterable[ServerSnapshot]) -> Iterator[ThreadSnapshot]:
    """Yield the threads that are in no stream and are no handlers of `servers`, the oldest first.

    But not the one that asks.
    """
    busy = {*_in_streams(sight), ("thread", native("_thread", "get_ident")())}
    handling: dict[tuple[str, str], list[tuple[Frame, ...]]] = {}  # threads may have the same name
    for handler in (one.handler for server in servers for one in server.handlers):
        handling.setdefault((handler.kind, handler.name), []).append(handler.stack)
    tasks = {ident: task for task, ident in _threads_of_tasks(sight)}
    for ident in dict.fromkeys([*threads_by_ident, *sight.threads]):
        frames = sight.threads.get(ident)
        if frames is None or ("thread", ident) in busy:
            continue
        named, stack = name_of_thread(ident), sight.lines.stack(_within(frames))
        stacks = handling.get(named, ())
        if stack in stacks or (stacks and handled_among(frames) is not None):
            continue
        if ends_in_program(stack):
            task = tasks.get(ident)
            yield ThreadSnapshot(named[1], None if task is None else sight.party(task).name, stack)


def tasks_seen(sight: Sight) -> Iterator[TaskSnapshot]:
    """Yield the tasks that are in no stream, handle no RPC and do not run, by their names.

    None where there are many tasks.
    """
    loops = sight.loops
    tables = tables_of_tasks(loops)
    if sum(map(len, tables)) > _MOST:
        return
    tasks = tasks_among((reference for table in tables for reference in table.copy()), loops)
    busy = {key for _, key in _in_streams(sight)}
    busy.update(id(sight.crowd.holder(one)) for one in sight.crowd.directions())
    busy.update(id(task) for some, _ in sight.rpc_tasks for task in some)
    busy.update(map(id, sight.running.values()))
    ends = {id(idle_type(loop)) for loop in loops}
    told = []
    for task in {id(task): task for task in tasks if id(task) not in busy}.values():
        kinds, links = sight.lines.shown(task.get_coro(), ends)
        if kinds & OF_PROGRAM and not kinds & OPERATION:  # it may have come into a stream meanwhile
            frames = [frame for frame in map(frame_of, reversed(links)) if frame is not None]
            told.append((sight.party(task).name, sight.lines.stack(frames)))
    for name, stack in sorted(told, key=lambda one: (len(one[0]), one[0])):
        if ends_in_program(stack):
            yield TaskSnapshot(name, stack)


def _in_streams(sight: Sight) -> Iterator[tuple[str, int]]:
    """Yield the keys of the parties that are inside a direction or wait for one, but for the crowd."""
    yield from (party.key for party in sight.holders.values())
    yield from (party.key for waiting in sight.waiters.values() for party, _ in waiting)


def steps(sight: Sight) -> Iterator[tuple[asyncio.Task[Any], tuple[Frame, ...]]]:
    """Yield each task that an event loop runs at this moment, and where it is."""
    for task, ident in _threads_of_tasks(sight):
        if stack := sight.lines.stack(_within(sight.threads[ident])):
            yield task, stack


def _threads_of_tasks(sight: Sight) -> Iterator[tuple[asyncio.Task[Any], int]]:
    """Yield each task that an event loop runs at this moment, and the ident of the thread.

    A loop that does not say which thread runs it (uvloop) shows it by a coroutine on its stack.
    """
    for loop, task in sight.running.items():
        ident = getattr(loop, "_thread_id", None)
        if ident is None and (frame := frame_of(task.get_coro())) is not None:
            on_it = (one for one, frames in sight.threads.items() if frame in frames)
            ident = next(on_it, None)
        if ident in sight.threads:
            yield task, ident


def _within(frames: Sequence[FrameType]) -> Sequence[FrameType]:
    """Return `frames`, innermost first; where an event loop runs them, up to the loop."""
    end = next((at for at, frame in enumerate(frames) if whose(frame) is LOOP), None)
    return frames[:end]
