"""Places of a program, and pairs of them at which two parties came near each other."""

from __future__ import annotations

import enum
import os
from typing import NamedTuple


class Place(NamedTuple):
    """The user's line from which an operation was called."""

    file: str
    line: int
    function: str


class State(enum.StrEnum):
    """What is known about a pair.

    ``dangerous``: its parties came near each other. ``synchronised``: one waits for the
    other, so no delay makes them meet. ``found``: they met.
    """

    DANGEROUS = "dangerous"
    SYNCHRONISED = "synchronised"
    FOUND = "found"


class Pair:
    """Two places (or one, twice) that came near each other, and what was learnt about them.

    ``gaps``: seconds from the end of an operation at the first or the second place to
    the other party's, as last seen. ``stalls``: delays that the other party waited out. ``first_run``,
    ``last_run``: in which they were near. ``has_met``: whether they met in this run.
    """

    __slots__ = ("first_run", "gaps", "has_met", "last_run", "places", "stalls", "state")

    def __init__(
        self,
        places: tuple[Place, Place],
        state: State = State.DANGEROUS,
        *,
        first_run: int,
        last_run: int = 0,
        stalls: int = 0,
        gaps: tuple[float | None, ...] = (None, None),
    ) -> None:
        self.places = places
        self.state = state
        self.first_run = first_run
        self.last_run = last_run or first_run
        self.stalls = stalls
        self.gaps = list(gaps)
        self.has_met = False

    def copy(self) -> Pair:
        """Return the pair as known at the beginning of a run."""
        return Pair(
            self.places,
            self.state,
            first_run=self.first_run,
            last_run=self.last_run,
            stalls=self.stalls,
            gaps=tuple(self.gaps),
        )

    @property
    def is_settled(self) -> bool:
        """Tell whether this run can learn nothing about it. What an earlier run found is tried."""
        return self.has_met or self.state is State.SYNCHRONISED

    @property
    def name(self) -> str:
        """A name that does not depend on the folder or the machine."""
        return " ".join(
            f"{os.path.basename(place.file)}:{place.line}:{place.function}" for place in self.places
        )

    def gap_after(self, place: Place) -> float | None:
        return self.gaps[self.places.index(place)]

    def has_follower(self, place: Place) -> bool:
        """Tell whether the other party may come after `place`; False if it only came before."""
        return self.gap_after(place) is not None or not any(gap is not None for gap in self.gaps)

    def note_gap(self, place: Place, gap: float) -> None:
        self.gaps[self.places.index(place)] = gap
