"""What unclosed-channel and unfinished-stream share: when something is kept on purpose."""

from __future__ import annotations

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of both rules."""

    kept: int = 8  # more kept objects than this from one place are no longer on purpose


class Candidate(Protocol):
    """A channel or a stream that has not ended."""

    @property
    def was_made_in_module(self) -> bool: ...

    @property
    def is_reachable(self) -> bool: ...


def was_made_in_module(candidate: Candidate) -> bool:
    """It was made at module level: for the whole process."""
    return candidate.was_made_in_module


def is_reachable(candidate: Candidate) -> bool:
    """A module, a running thread or the caller holds it: it is still in use."""
    return candidate.is_reachable


# Up to the threshold: more than that from one line are kept by mistake.
KEPT_ON_PURPOSE = (was_made_in_module, is_reachable)


def and_others(text: str, others: int) -> str:
    """Return `text`, and how many others were made in the same place."""
    return f"{text}, and {others} more from there" if others else text
