"""Threads that wait for a task, a future or another thread: they show it on their stacks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from _thread import get_ident
from types import CodeType, FrameType, FunctionType
from typing import Any, cast

from .._catalogue.cpython import frames_of_threads, variables_of
from .stacks import outward

# Functions in which a thread waits, and their local variable with what it waits for: a task that
# it has an event loop run is such a thing, too.
_FUNCTIONS = (
    (concurrent.futures.Future.result, "self"),
    (concurrent.futures.Future.exception, "self"),
    (threading.Thread.join, "self"),
    (asyncio.BaseEventLoop.run_until_complete, "future"),
    (asyncio.Runner.run, "task"),
)
_CODES: list[tuple[CodeType, str]] = [
    (cast("FunctionType", function).__code__, name) for function, name in _FUNCTIONS
]
_NAMES = {id(code): name for code, name in _CODES}  # a hash of code is that of its whole content


def blocked_threads() -> dict[int, list[tuple[FrameType, Any]]]:
    """Return, by the identity of what threads wait for, the frame that waits in each, and that itself.

    To be cleared by who has asked: frames hold what the program has in hand.
    """
    found: dict[int, list[tuple[FrameType, Any]]] = {}
    frames = frames_of_threads()
    frames[get_ident()] = sys._getframe(1)  # this very frame would be in a cycle with itself
    try:
        for innermost in frames.values():
            for frame in outward(innermost):
                name = _NAMES.get(id(frame.f_code))
                waited_for = None if name is None else variables_of(frame).get(name)
                if waited_for is not None:
                    found.setdefault(id(waited_for), []).append((frame, waited_for))
        return found
    finally:
        frames.clear()
