"""Noting where work is started, so that a report has a line even if no code waits for the work.

``create_task(call.read())`` that is never awaited, and ``Thread(target=call.next)`` that is never
joined, leave no line of the program anywhere, unless it is noted when they begin. That costs
something for each coroutine, thread and piece of work in the process: only ``grpc-guard run`` and
test sessions do it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import functools
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from .._catalogue.cpython_loops import running_loop
from .._findings.origins import note_origin
from .._findings.waiters import NOTE, Note

_DEPTH = 8  # frames that each coroutine notes of its maker; those of libraries come first

_depth_before = 0
_replaced: list[tuple[Any, str, Any, Any]] = []  # owner, name, the original, its replacement


def note_where_work_begins() -> None:
    """Note the maker of each coroutine, thread and piece of work from now on. Idempotent.

    For coroutines this holds in this thread and in threads that start later.
    """
    global _depth_before
    if _replaced:
        return
    _depth_before = sys.get_coroutine_origin_tracking_depth()
    _note_coroutines()
    _patch(threading.Thread, "start", _noting_method("start"))
    _patch(concurrent.futures.thread._WorkItem, "__init__", _noting_method("submit"))
    # A new thread calls it, and it returns: a frame that stayed would be on every stack.
    _patch(threading.Thread, "_set_ident", _in_new_thread)


def stop_noting() -> None:
    """Stop noting; patches that other code has put on top stay."""
    if sys.get_coroutine_origin_tracking_depth() == _DEPTH:  # else the program has set it since
        sys.set_coroutine_origin_tracking_depth(_depth_before)
    while _replaced:
        owner, name, plain, replacement = _replaced.pop()
        if vars(owner).get(name) is replacement:
            setattr(owner, name, plain)


def _note_coroutines() -> None:
    if sys.get_coroutine_origin_tracking_depth() < _DEPTH:
        sys.set_coroutine_origin_tracking_depth(_DEPTH)


def _patch(owner: Any, name: str, make: Callable[[Callable[..., Any]], Any]) -> None:
    plain = vars(owner).get(name)
    if plain is not None:  # a private name that another Python may lack
        replacement = functools.wraps(plain)(make(plain))
        _replaced.append((owner, name, plain, replacement))
        setattr(owner, name, replacement)


def _noting_method(operation: str) -> Callable[[Callable[..., Any]], Any]:
    def make(plain: Callable[..., Any]) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                vars(self)[NOTE] = _note(operation)
            except TypeError:  # its class does not allow a note
                pass
            return plain(self, *args, **kwargs)

        return method

    return make


def _note(operation: str) -> Note:
    origin = note_origin(operation)
    task = asyncio.current_task() if running_loop() is not None else None
    return Note(lambda: origin.site, _nobody if task is None else weakref.ref(task))


def _nobody() -> None:
    return None


def _in_new_thread(plain: Callable[..., Any]) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        _note_coroutines()
        return plain(self, *args, **kwargs)

    return method
