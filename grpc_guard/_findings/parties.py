"""Who runs: threads, tasks and greenlets as the parties to a finding."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from _thread import get_ident
from collections.abc import Iterator
from types import FrameType

from .records import Owner
from .stacks import fold, outward
from .whose import LOOP, whose


def this_party(frame: FrameType, operation: str, *, is_task: bool) -> Owner:
    """Describe the caller: the running task or thread, with its stack from `frame` outward."""
    if is_task:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs here: a thread strayed into an aio object
            task = None
        if task is not None:
            return Owner("task", task.get_name(), operation, None, fold(_of_task(frame)))
    kind, name = _running_greenlet() or name_of_thread(get_ident())
    return Owner(kind, name, operation, None, fold(outward(frame)))


def _of_task(frame: FrameType) -> Iterator[FrameType]:
    """Yield the frames from `frame` outward that belong to the running task."""
    for caller in outward(frame):
        if whose(caller) is LOOP:
            return
        yield caller


def name_of_thread(ident: int) -> tuple[str, str]:
    """Return the kind of party that a thread is, and its name."""
    thread = threading._active.get(ident)  # type: ignore[attr-defined]  # enumerate() takes a lock
    name = thread.name if thread is not None else f"thread {ident}"
    return "thread", name


def suspended_greenlets() -> Iterator[tuple[str, FrameType]]:
    """Yield the suspended greenlets, which no thread shows among its frames."""
    if "gevent" not in sys.modules:
        return
    from greenlet import greenlet

    for candidate in gc.get_objects():
        if issubclass(type(candidate), greenlet) and candidate.gr_frame is not None:
            yield _name_of_greenlet(candidate), candidate.gr_frame


def _running_greenlet() -> tuple[str, str] | None:
    """Return the kind of party and its name, if it is a greenlet and not a thread's main one."""
    if "gevent" not in sys.modules:
        return None
    from greenlet import getcurrent

    greenlet = getcurrent()
    return None if greenlet.parent is None else ("greenlet", _name_of_greenlet(greenlet))


def _name_of_greenlet(greenlet: object) -> str:
    return str(getattr(greenlet, "name", None) or hex(id(greenlet)))
