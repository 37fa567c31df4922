"""The time after which a wait for a turn is logged, in mode ``serialize``."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """The threshold. It has no rule: the finding was reported when the wait began."""

    long_wait_seconds: float = 30.0  # how long an operation has waited for its turn
