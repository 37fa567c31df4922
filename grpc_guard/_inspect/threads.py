"""Threads that are in no stream, and the tasks that event loops run at this moment."""

from __future__ import annotations

import asyncio
from _thread import get_ident
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

from .._catalogue.cpython import threads_by_ident
from .._core.loops import loop_thread_of
from .._findings.parties import name_of_thread
from .._findings.records import Frame
from .._findings.stacks import ends_in_program
from .._findings.whose import LOOP, whose
from .records import ServerSnapshot, ThreadSnapshot
from .sight import Sight


def threads_seen(sight: Sight, servers: Iterable[ServerSnapshot]) -> Iterator[ThreadSnapshot]:
    """Yield the threads that are in no stream and are no handlers of `servers`, the oldest first.

    But not the one that asks.
    """
    busy = {party.key for party in sight.holders.values()}
    busy.update(party.key for waiting in sight.waiters.values() for party, _ in waiting)
    busy.add(("thread", get_ident()))
    handlers = [one.handler for server in servers for one in server.handlers]
    handling = {(handler.kind, handler.name) for handler in handlers}
    tasks = {loop_thread_of(loop)._thread_id: task for loop, task in sight.running.items()}
    known = sight.threads
    for ident in (
        *filter(known.__contains__, [*threads_by_ident]),
        *known.keys() - threads_by_ident,
    ):
        named = name_of_thread(ident)
        if ("thread", ident) in busy or named in handling:
            continue
        stack = sight.lines.stack(_within(known[ident]))
        if ends_in_program(stack):
            task = tasks.get(ident)
            yield ThreadSnapshot(named[1], None if task is None else sight.party(task).name, stack)


def steps(sight: Sight) -> Iterator[tuple[asyncio.Task[Any], tuple[Frame, ...]]]:
    """Yield each task that an event loop runs at this moment, and where it is."""
    for loop, task in sight.running.items():
        frames = sight.threads.get(loop_thread_of(loop)._thread_id)
        if frames is not None and (stack := sight.lines.stack(_within(frames))):
            yield task, stack


def _within(frames: Sequence[FrameType]) -> Sequence[FrameType]:
    """Return `frames`, innermost first; where an event loop runs them, up to the loop."""
    end = next((at for at, frame in enumerate(frames) if whose(frame) is LOOP), None)
    return frames[:end]
