"""How long an operation may be held back now: deadlines, time-outs, loops and finalisers."""

from __future__ import annotations

import asyncio
import math
import sys
import time
import weakref
from collections.abc import Iterable
from types import FrameType
from typing import Any

from .._catalogue.boundary import is_injected
from .._catalogue.cpython_loops import (
    arguments_of,
    arguments_of_callbacks,
    tasks_stopped_by,
    timers_of,
)
from .._catalogue.grpcio import deadline_of
from .._findings.stacks import outward


def time_left(timed: Iterable[Any]) -> float:
    """Return the seconds until the first deadline of `timed`, calls and contexts or None."""
    return min(map(_until_deadline, timed), default=math.inf)


def _until_deadline(timed: Any) -> float:
    try:
        # grpcio's sync calls return it under a lock that another thread may hold while it waits.
        notes_it, deadline = deadline_of(timed)
        if deadline is not None:
            return deadline - time.time()
        if notes_it or not hasattr(timed, "time_remaining"):
            return math.inf
        remaining = timed.time_remaining()
    except Exception as error:
        if is_injected(error):
            raise
        return 0.0  # an interceptor's own call, which does not tell
    return math.inf if remaining is None else float(remaining)


def until_timeout(task: asyncio.Task[Any]) -> float:
    """Return the seconds until the first time-out around the current step of `task`.

    It knows those of asyncio (timeout(), wait_for()), anyio and async_timeout, on loops that
    show their timers, as asyncio's own do.
    """
    loop = task.get_loop()
    # wait_for() before 3.12 runs its awaitable in a task, whose end sets this future.
    told = arguments_of_callbacks(task)
    return min(
        (timer.when() - loop.time() for timer in timers_of(loop) if _stops(timer, task, told)),
        default=math.inf,
    )


def _stops(timer: Any, task: asyncio.Task[Any], told: list[object]) -> bool:
    """Tell whether `timer` ends the wait of `task`."""
    if any(stopped is task for stopped in tasks_stopped_by(timer)):
        return True
    return any(argument is future for argument in arguments_of(timer) for future in told)


def is_finalising(frame: FrameType | None) -> bool:
    """Tell whether `frame` runs for a finaliser, or while the interpreter shuts down."""
    return sys.is_finalizing() or any(
        outer.f_code.co_name == "__del__" or outer.f_globals is vars(weakref)
        for outer in outward(frame)
    )


def is_timeout(error: BaseException) -> bool:
    """Tell whether a delay may have cost the operation its deadline, or a time-out that cancels."""
    if isinstance(error, (asyncio.CancelledError, TimeoutError, asyncio.TimeoutError)):
        return True
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", None) == "DEADLINE_EXCEEDED"
