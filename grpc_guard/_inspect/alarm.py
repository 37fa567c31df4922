"""Doing something once, in a while, unless it is called off: a look at what still hangs then.

The thread for it starts only where this process has a channel or a server, see switch.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from .._catalogue.clock import monotonic
from .native import native, start
from .switch import switch


class Alarm:
    """One thing to do in so many seconds, from a thread of its own."""

    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self._deadline = monotonic() + seconds
        self._function = function
        self._off: Any = native("_thread", "allocate_lock")()
        self._off.acquire()
        switch.when_in_use(self._start)

    def cancel(self) -> None:
        """Call it off; again, or after it went off, changes nothing."""
        switch.forget(self._start)
        with contextlib.suppress(RuntimeError):  # released already
            self._off.release()

    def _start(self) -> None:
        with contextlib.suppress(OSError):  # without a thread it does not go off
            start(self.run)

    def run(self) -> None:
        """Wait, and do it. Runs as a thread; never raises."""
        if not self._off.acquire(True, max(0.0, self._deadline - monotonic())):
            with contextlib.suppress(Exception):  # nobody could be told
                self._function()
