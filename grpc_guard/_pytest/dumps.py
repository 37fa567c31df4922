"""What is in progress in a test that takes too long, printed before the test is ended.

That is before pytest-timeout or ``faulthandler_timeout`` ends it, or after a time that the user has
chosen. It is printed on stderr, uncaptured, and added to the report of the test, if there is one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys

import pytest

from .._inspect.alarm import Alarm
from .._inspect.switch import of_environment, switch
from .settings import DUMP_AFTER

_LEAD, _SHARE = 1.0, 0.8  # seconds before the end, or this share of the time, whichever is later
_MOST = 20  # streams that are shown


class Dumps:
    """The alarms of the test that runs."""

    def __init__(self, after: float | None, of_faulthandler: float) -> None:
        self._after = after
        self._of_faulthandler = of_faulthandler
        self._alarms: list[Alarm] = []
        self._stderr = -1  # a descriptor of stderr, from before the capture
        self._was_wanted = False  # whether this process could be asked before

    @classmethod
    def of(cls, config: pytest.Config) -> Dumps:
        """Read the settings; ValueError for a bad one."""
        with contextlib.suppress(ValueError):  # no such ini option: -p no:faulthandler
            of_faulthandler = float(config.getini("faulthandler_timeout") or 0.0)
            return cls(parse_seconds(config.getoption(DUMP_AFTER)), of_faulthandler)
        return cls(parse_seconds(config.getoption(DUMP_AFTER)), 0.0)

    def begin(self, *, is_on: bool) -> None:
        """Let the process be asked if the guard `is_on`, or as the environment says.

        Keep stderr as it is now, before tests. Raises ValueError for a bad value there.
        """
        self._was_wanted = switch.wanted
        switch.want(of_environment(default=is_on))
        with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr has no descriptor
            self._stderr = os.dup(sys.stderr.fileno())

    def end(self) -> None:
        switch.want(self._was_wanted)
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1

    def begin_test(self, item: pytest.Item) -> None:
        if self._after is not None:
            self._set(item, self._after, self._after)
        self.before_end(item, self._of_faulthandler)

    def before_end(self, item: pytest.Item, seconds: float | None) -> None:
        """Print it shortly before the test has run for this many seconds; None and 0 mean never."""
        if seconds:
            self._set(item, max(seconds - _LEAD, seconds * _SHARE), seconds)

    def end_test(self) -> None:
        for alarm in self._alarms:
            alarm.cancel()
        self._alarms.clear()

    def _set(self, item: pytest.Item, seconds: float, limit: float) -> None:
        self._alarms.append(Alarm(seconds, functools.partial(self.tell, item, limit)))

    def tell(self, item: pytest.Item, limit: float) -> None:
        """Print what is in progress in `item`, whose limit is this many seconds."""
        from .._inspect.snapshot import snapshot
        from .._inspect.wording import dump

        text = dump(snapshot(), most=_MOST)
        item.add_report_section("call", "grpc_guard: in progress", text)
        if self._stderr >= 0:
            told = f"\ngrpc_guard: in progress in {item.nodeid} (limit {limit:g} s):\n{text}"
            os.write(self._stderr, told.encode(errors="backslashreplace"))


def parse_seconds(value: str | None) -> float | None:
    """Return a number of seconds; ValueError that names the option and the value."""
    if value is None:
        return None
    with contextlib.suppress(ValueError):
        if 0 < float(value) < float("inf"):
            return float(value)
    raise ValueError(f"--grpc-guard-dump-after: {value!r} is not a number of seconds above 0")
