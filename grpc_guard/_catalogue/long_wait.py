"""When it is logged that an operation still waits for its turn, in mode ``serialize``."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """The threshold of it; there is no rule: the finding was reported when the wait began."""

    long_wait_seconds: float = 30.0  # an operation has waited so long for its turn
