"""From when on a warning is worth giving: one frozen object, read from the environment."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping

PREFIX = "GRPC_GUARD_"


@dataclasses.dataclass(frozen=True, slots=True)
class Thresholds:
    """The thresholds of the warnings; a field is set by GRPC_GUARD_ and its name in capitals.

    Seconds are seconds, and everything else is a number of things.
    """

    blocked_loop_seconds: float = 0.1  # a read that waits longer blocks its loop
    starved_server_seconds: float = 1.0  # how long all threads have been held
    parked_iterator_seconds: float = 0.5  # grace for an iterator to end with its RPC
    channel_churn: int = 10  # more channels than this from one place …
    channel_churn_seconds: float = 60.0  # … within this time
    stream_limit: int = 90  # live streams on one channel
    kept: int = 8  # more kept objects than this from one place are no longer on purpose

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Thresholds:
        """Read the settings; ValueError names the variable, the value and what it takes."""
        given = {}
        for field in dataclasses.fields(cls):
            name = PREFIX + field.name.upper()
            value = environment.get(name)
            if value:
                is_seconds = field.name.endswith("_seconds")
                given[field.name] = _seconds(value, name) if is_seconds else _count(value, name)
        return cls(**given)  # type: ignore[arg-type]


def _seconds(value: str, source: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{source}: {value!r} is no time; use seconds, 0 or more")
    return seconds


def _count(value: str, source: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{source}: {value!r} is no number; use a whole number, 0 or more")
    return int(value)


_current: Thresholds | None = None


def thresholds() -> Thresholds:
    """Return the thresholds of this process, which are read once; ValueError for a bad one."""
    global _current
    if _current is None:
        _current = Thresholds.of(os.environ)
    return _current
