"""Aio operations that CPython 3.11 ends without their ``finally``.

It calls a trace or profile function of the program each time that a coroutine is suspended or
resumed. If that function raises (a signal handler runs in it and raises), CPython clears the frame
of the coroutine (``trace_function_entry()``, ``trace_function_exit()`` of its ceval.c). Then the
direction stays taken, without an owner. Later versions raise the exception in the coroutine.
"""

from __future__ import annotations

import sys
from types import CoroutineType, FrameType

from .._catalogue import heap
from .._catalogue.cpython import variables_of
from .._catalogue.cpython_awaits import awaited_by_coroutine
from .._core.operations import IDENTITIES, ONLOOKERS
from .._core.stream import Direction
from .._core.turns import wake
from .._findings.stacks import outward

CAN_BE = sys.version_info < (3, 12)


def may_have_been() -> bool:
    """Tell whether there is a trace or profile function that may have ended an operation so."""
    return CAN_BE and (sys.gettrace() is not None or sys.getprofile() is not None)


def give_back(direction: Direction) -> bool:
    """Free `direction`, of an aio stream, if no party is inside; tell whether it did.

    Called by an operation that found it taken, on the thread of its loop: no other task can run
    in between.
    """
    stream = direction.stream
    if not CAN_BE or direction.loop_thread is None or stream.handler is not None:
        return False  # an async generator gives its direction back elsewhere
    if direction.inside is not None:
        return False  # an operation of the compiled core always gives back
    # The caller's frame. In a call with interceptors it has none: a write only waits in a queue.
    own = next((frame for frame in outward(sys._getframe(1)) if _owns(frame, direction)), None)
    for coroutine in heap.instances([CoroutineType]):
        frame = coroutine.cr_frame
        if frame is None or frame is own or not _owns(frame, direction):
            continue
        if id(getattr(awaited_by_coroutine(coroutine), "cr_code", None)) not in ONLOOKERS:
            return False
    if direction.turns is None:
        direction.taken = False  # type: ignore[attr-defined]
    else:
        direction.turns.taken = False
        wake(direction.turns)
    return True


def _owns(frame: FrameType, direction: Direction) -> bool:
    """Tell whether `frame` is one of those that own `direction`, or that have asked for it."""
    code = id(frame.f_code)
    if code not in IDENTITIES or code in ONLOOKERS:
        return False
    names = variables_of(frame)
    return names.get("direction") is direction and bool(names.get("owns", True))
