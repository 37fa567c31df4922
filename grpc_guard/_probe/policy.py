"""The decisions of the probe: which places are dangerous, when to delay, what a delay has shown.

Nothing here waits, reads a clock or knows threads and tasks: a caller reports that a party begins
or ends an operation, where and when, and gets the time by which to delay it. The method is TSVD's
(Li et al., SOSP 2019): it does not analyse what might overlap, but adds a delay where two parties
came near each other, during which they meet or do not.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from .pairs import Pair, Place, State
from .settings import ProbeSettings, Totals

PROMPT = 0.005  # seconds; a party that arrives so soon after a delayed operation was waiting for it

Allowance = Callable[[], float]  # how long an operation may be held back now, in seconds


class ProbedOperation:
    """One operation: its place, its party, and how long it was held back (seconds)."""

    __slots__ = ("delay", "ended", "is_held", "party", "place")

    def __init__(self, place: Place, party: object) -> None:
        self.place = place
        self.party = party
        self.delay = 0.0
        self.is_held = False  # it is being held back right now
        self.ended = 0.0


class Track:
    """What the probe knows of one direction of one stream."""

    __slots__ = ("current", "delays", "last")

    def __init__(self, rate: int) -> None:
        self.current: ProbedOperation | None = None
        self.last: ProbedOperation | None = None
        self.delays: deque[float] = deque([-math.inf] * rate, rate)  # when the latest ones began


class Held(NamedTuple):
    """What a finding says about the probe: seconds held, and the run that first saw the pair."""

    delay: float
    window: float
    run: int


class ProbePolicy:
    """The probe of one process.

    It has no lock: the owner of a direction reports its operations, and only one party at a
    time reports what all directions share (see watch.py).
    """

    def __init__(
        self, settings: ProbeSettings, *, began: float, pairs: Iterable[Pair] = (), run: int = 1
    ) -> None:
        self.settings = settings
        self.run = run
        self.pairs: dict[tuple[Place, Place], Pair] = {pair.places: pair for pair in pairs}
        self._at: dict[Place, list[Pair]] = {}
        for pair in self.pairs.values():
            self._index(pair)
        self._began = began
        self._busy_until = -math.inf
        self._chances: dict[tuple[Pair, Place], tuple[random.Random, float]] = {}
        self._interrupted: Counter[Place] = Counter()
        self._near_misses = self._delays = self._synchronised = 0
        self._spent = 0.0

    @property
    def totals(self) -> Totals:
        return Totals(self._near_misses, self._delays, self._synchronised, self._spent)

    def track(self) -> Track:
        return Track(self.settings.rate)

    # Operations

    def is_repeated(self, last: ProbedOperation, place: Place, party: object) -> bool:
        """Tell whether the visit after `last` is the same again."""
        return (
            last.place is place
            and (last.party is party or last.party == party)
            and not last.delay
            and not (self._at and place in self._at)
        )

    def concerns(self, track: Track, visit: ProbedOperation) -> bool:
        """Tell whether :meth:`arrive` has anything to learn or to decide for `visit`."""
        last = track.last
        return visit.place in self._at or (last is not None and last.party != visit.party)

    def arrive(
        self, track: Track, visit: ProbedOperation, now: float, allowance: Allowance
    ) -> float:
        """Learn from an operation that begins; return how long to hold it back, in seconds."""
        last = track.last
        if last is not None and last.party != visit.party:
            self._follows(last, visit, now - last.ended)
        return self._decide(track, visit, now, allowance)

    def collide(self, track: Track, place: Place, party: object) -> Held | None:
        """Learn that `party` came to a direction while it was owned.

        Return how the probe caused that; None if it did not.
        """
        owner = track.current
        if owner is None or owner.party == party:
            return None
        pair = self._pair(owner.place, place)
        pair.state = State.FOUND
        pair.has_met = True
        if not owner.is_held:
            return None
        return Held(owner.delay, self.settings.window, pair.first_run)

    def interrupted(self, visit: ProbedOperation) -> None:
        """Learn that a delayed operation timed out or was cancelled: hold back less there."""
        self._interrupted[visit.place] += 1

    # Near misses

    def _follows(self, last: ProbedOperation, visit: ProbedOperation, gap: float) -> None:
        if gap > self.settings.window:
            return
        self._near_misses += 1
        pair = self._pair(last.place, visit.place)
        usual = pair.gap_after(last.place)
        if not last.delay:
            pair.note_gap(last.place, gap)
        elif not pair.is_settled and usual is not None and usual < last.delay:
            # By its usual gap, the other party would have come during the delay. It came as soon
            # as the delay was over: it was waiting for this operation.
            if gap <= max(PROMPT, 1.5 * usual):
                pair.stalls += 1
            if pair.stalls >= self.settings.stalls:
                pair.state = State.SYNCHRONISED
                self._synchronised += 1

    def _pair(self, one: Place, other: Place) -> Pair:
        places = (one, other) if one <= other else (other, one)
        pair = self.pairs.get(places)
        if pair is None:
            pair = self.pairs[places] = Pair(places, first_run=self.run)
            self._index(pair)
        pair.last_run = self.run
        return pair

    def _index(self, pair: Pair) -> None:
        for place in set(pair.places):
            self._at.setdefault(place, []).append(pair)

    # Delays

    def _decide(
        self, track: Track, visit: ProbedOperation, now: float, allowance: Allowance
    ) -> float:
        settings = self.settings
        # One delay at a time in the process: what the other party does meanwhile is the result.
        if now < self._busy_until or now - next(iter(track.delays), now) < 1:
            return 0.0
        due = [pair for pair in self._at.get(visit.place, ()) if self._is_due(pair, visit.place)]
        if not due:
            return 0.0
        delay = settings.delay / 2.0 ** self._interrupted[visit.place]
        delay = min(delay, allowance())
        budget = max(settings.floor, settings.budget * (now - self._began))
        if delay < settings.shortest or self._spent + delay > budget:
            return 0.0
        for pair in due:
            chance, probability = self._chances[pair, visit.place]
            self._chances[pair, visit.place] = chance, probability * settings.decay
        self._delays += 1
        self._spent += delay
        self._busy_until = now + delay
        track.delays.append(now)
        return delay

    def _is_due(self, pair: Pair, place: Place) -> bool:
        """Draw for `pair` at `place`, which has its own sequence of random numbers."""
        if pair.is_settled or not pair.has_follower(place):
            return False
        key = (pair, place)
        if key not in self._chances:
            seed = f"{self.settings.seed} {pair.name} {pair.places.index(place)}"
            self._chances[key] = random.Random(seed), 1.0
        chance, probability = self._chances[key]
        return chance.random() < probability
