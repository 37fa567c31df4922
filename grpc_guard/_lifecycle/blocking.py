"""A read that blocks an event loop: the rule blocked-loop.

Watched are only the calls that were started while a loop ran on the thread: no other call
pays for it. A read counts if it waited for long, and a loop ran where it waited.
"""

from __future__ import annotations

import asyncio
import sys
from _thread import get_ident
from time import monotonic
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.cpython_loops import running_loop
from .._catalogue.rules.blocked_loop import LoopStoodStill, is_in_notebook
from .._catalogue.thresholds import thresholds
from .._core.steps import IteratorFromFunction
from .._core.stream import Stream
from .._findings import parties
from .._findings.records import Owner
from .._findings.reporting import warn


def watched(call: Any, stream: Stream) -> Any:
    """Return `call`, or if it could block an event loop, what is watched and reads from it."""
    origin = stream.origin
    if origin is None or not origin.on_loop or is_in_notebook(sys):
        return call

    step = call.__next__

    # Must not hold the direction: in a cycle with its step it would keep the call alive.
    def watch() -> Any:
        began = monotonic()
        try:
            return step()
        finally:
            seconds = monotonic() - began
            if seconds >= thresholds().blocked_loop_seconds:
                _tell(stream, seconds)

    return IteratorFromFunction(watch)


@never_disturbs("a blocked loop goes unnoticed")
def _tell(stream: Stream, seconds: float) -> None:
    loop = running_loop()
    if loop is None:
        return  # another thread reads, or the loop has ended since
    caller = parties.this_party(sys._getframe(1), "next", is_task=True)
    held = Owner(*parties.name_of_thread(get_ident()), "event loop", seconds)
    others = len(asyncio.all_tasks(loop)) - 1
    warn(LoopStoodStill(seconds, others), stream.subject, caller=caller, owner=held)
