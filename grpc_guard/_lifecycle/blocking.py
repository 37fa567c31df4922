"""What blocks an event loop: the rule blocked-loop.

Only calls that are started while a loop runs on the thread, and sync request iterators of
grpc.aio, are watched: no other call pays for it. A finding is a long wait on a thread whose loop
ran.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import running_loop
from .._catalogue.nouns import Subject
from .._catalogue.rules.blocked_loop import LoopStoodStill, is_in_notebook
from .._catalogue.thresholds import thresholds
from .._core.steps import IteratorFromFunction, step_of
from .._core.stream import Stream
from .._findings import parties
from .._findings.origins import Origin
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import copy_frame
from .losses import iterator_raised


def watched(call: Any, stream: Stream) -> Any:
    """Return what reads from `call`, which was started where a loop runs, and is watched."""
    if is_in_notebook(sys):
        return call

    step = step_of(call)

    # Must not hold the direction: in a cycle with its step it would keep the call alive.
    def watch() -> Any:
        began = monotonic()
        try:
            return step()
        finally:
            _tell(began, stream.subject, "next")

    return IteratorFromFunction(watch)


def blocking(function: Callable[..., Any], subject: Subject, /, *args: Any, **kwargs: Any) -> Any:
    """Call `function`, which waits for a whole RPC while a loop runs here; return its result."""
    if is_in_notebook(sys):
        return function(*args, **kwargs)
    began = monotonic()
    try:
        return function(*args, **kwargs)
    finally:
        _tell(began, subject, "call")


def on_the_loop(steps: Any, iterator: Any, stream: Stream) -> Any:
    """Return the replacement of `steps`, those of a sync request `iterator` of grpc.aio.

    gRPC advances the iterator on the loop, and swallows what it raises.
    """
    step = step_of(steps)

    def watch() -> Any:
        began = monotonic()
        try:
            return step()
        except StopIteration:
            raise
        except Exception as error:
            iterator_raised(stream, "next(request_iterator)", error)
            raise
        finally:
            if not is_in_notebook(sys):
                _tell(began, stream.subject, "next(request_iterator)", iterator, stream.origin)

    return IteratorFromFunction(watch)


@never_disturbs("a blocked loop goes unnoticed")
def _tell(
    began: float,
    subject: Subject,
    operation: str,
    iterator: Any = None,
    origin: Origin | None = None,
) -> None:
    """Act on an operation that has just ended: did a loop stand still since it `began`?"""
    seconds = monotonic() - began
    loop = running_loop()
    # If none runs, another thread has waited, or the loop has ended since.
    if seconds < thresholds().blocked_loop_seconds or loop is None:
        return
    caller = parties.this_party(sys._getframe(1), operation, is_task=True)
    if origin is not None:  # gRPC has asked: the line is the iterator's, or where the RPC began
        frame = getattr(iterator, "gi_frame", None)
        place = origin.site if frame is None else copy_frame(frame)
        caller = dataclasses.replace(caller, stack=() if place is None else (place,))
    held = Owner(*parties.name_of_thread(get_ident()), "event loop", seconds)
    others = len(asyncio.all_tasks(loop)) - 1
    warn(LoopStoodStill(seconds, others), subject, caller=caller, owner=held)
