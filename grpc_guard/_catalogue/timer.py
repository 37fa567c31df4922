"""A look in a while, at what may be over before."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from .clock import monotonic

_STEP = 0.25  # seconds


class Timer(threading.Timer):
    """Calls `look` in `interval` seconds, from a daemon thread with this name; or soon after ``is_over()``.

    Many programs and test suites compare lists of threads: one that waits for nothing must not stay.
    """

    def __init__(
        self, interval: float, look: Callable[[], object], name: str, is_over: Callable[[], bool]
    ) -> None:
        super().__init__(interval, look)
        self.name, self.daemon = name, True
        self._is_over = is_over

    def run(self) -> None:
        """Wait, and look."""
        deadline = monotonic() + self.interval
        while (left := deadline - monotonic()) > 0:
            if self.finished.wait(min(_STEP, left)):
                return
            with contextlib.suppress(Exception):  # nobody could be told; the look itself follows
                if self._is_over():
                    break
        self.function()
