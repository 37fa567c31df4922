"""The decisions of the probe, for operations at times that the tests make up."""

from __future__ import annotations

import math

import pytest
from inside import (
    Held,
    Pair,
    Place,
    ProbedOperation,
    ProbePolicy,
    ProbeSettings,
    State,
    Totals,
    Track,
)

HERE = Place("app.py", 1, "here")
THERE = Place("app.py", 2, "there")
ELSEWHERE = Place("app.py", 3, "elsewhere")


def freely() -> float:
    return math.inf


class Script:
    """One direction, and parties that come to it one after the other."""

    def __init__(self, core: ProbePolicy | None = None, **settings: float) -> None:
        self.core = core or ProbePolicy(ProbeSettings(seed=0, **settings), began=0.0)  # type: ignore[arg-type]
        self.track: Track = self.core.track()
        self.now = 0.0

    def visit(
        self, place: Place, party: object, *, after: float = 0.0, allowed: object = freely
    ) -> float:
        """Let an operation that takes no time begin `after` so many seconds; return its delay."""
        self.now += after
        visit = ProbedOperation(place, party)
        if self.core.concerns(self.track, visit):
            visit.delay = self.core.arrive(self.track, visit, self.now, allowed)  # type: ignore[arg-type]
        self.now += visit.delay
        visit.ended = self.now
        self.track.last = visit
        return visit.delay

    def near(self, gap: float = 0.02) -> None:
        """Let A and B come near each other, first A."""
        self.visit(HERE, "A", after=10)
        self.visit(THERE, "B", after=gap)


def test_two_parties_within_the_window() -> None:
    """Two parties near each other are a near miss; the first one's place is dangerous then."""
    script = Script()
    script.near()
    assert script.core.totals == Totals(near_misses=1)
    assert script.visit(HERE, "A", after=10) == 0.05


def test_two_parties_outside_the_window() -> None:
    """Parties farther apart than the window are not a pair."""
    script = Script()
    script.near(gap=0.11)
    assert script.core.totals == Totals()
    assert script.visit(HERE, "A", after=10) == 0


def test_one_party() -> None:
    """One party alone is never near itself, wherever it comes from."""
    script = Script()
    script.visit(HERE, "A")
    script.visit(THERE, "A", after=0.01)
    assert script.core.totals == Totals()


def test_one_place_of_two_parties() -> None:
    """Two parties that run the same line are a pair of that line with itself."""
    script = Script()
    script.visit(HERE, "A")
    script.visit(HERE, "B", after=0.01)
    assert [pair.places for pair in script.core.pairs.values()] == [(HERE, HERE)]
    assert script.visit(HERE, "A", after=10) == 0.05


def test_the_place_that_nobody_follows() -> None:
    """There is no delay if the other party only came before: no party would meet it."""
    script = Script()
    script.near()
    assert script.visit(THERE, "B", after=10) == 0


def test_a_pair_found_without_a_near_miss() -> None:
    """In a pair that met without a delay, either place may come first."""
    core = ProbePolicy(
        ProbeSettings(seed=0), began=0, pairs=[Pair((HERE, THERE), State.FOUND, first_run=1)], run=2
    )
    assert Script(core).visit(THERE, "B") == 0.05


def test_collision_during_a_delay() -> None:
    """The report of a party that comes during a delay says so; the pair is not delayed again."""
    script = Script()
    script.near()
    owner = script.track.current = ProbedOperation(HERE, "A")
    owner.delay, owner.is_held = 0.05, True
    assert script.core.collide(script.track, THERE, "B") == Held(0.05, 0.1, 1)
    assert [pair.state for pair in script.core.pairs.values()] == [State.FOUND]
    assert script.visit(HERE, "A", after=10) == 0


def test_collision_without_a_delay() -> None:
    """A party that comes while none is held back met the owner by chance; the pair is known now."""
    script = Script()
    script.track.current = ProbedOperation(HERE, "A")
    assert script.core.collide(script.track, THERE, "B") is None
    assert script.core.pairs[HERE, THERE].state is State.FOUND


def test_collision_with_nobody_known() -> None:
    """A collision with an owner that the probe has not seen teaches nothing."""
    script = Script()
    assert script.core.collide(script.track, THERE, "B") is None
    assert script.core.pairs == {}


def test_what_an_earlier_run_found() -> None:
    """A pair that met in an earlier run is tried again, and says which run saw it first."""
    pair = Pair((HERE, THERE), State.FOUND, first_run=1, gaps=(0.01, None))
    script = Script(ProbePolicy(ProbeSettings(seed=0), began=0, pairs=[pair], run=3))
    assert script.visit(HERE, "A") == 0.05
    script.track.current = owner = ProbedOperation(HERE, "A")
    owner.delay, owner.is_held = 0.05, True
    assert script.core.collide(script.track, THERE, "B") == Held(0.05, 0.1, 1)
    assert pair.last_run == 3


@pytest.mark.parametrize("gap", [0.0, 0.02], ids=["at once", "as late as ever"])
def test_stalls(gap: float) -> None:
    """A party that waits out three delays is synchronised: there is no fourth."""
    script = Script(decay=1)
    script.near(gap=0.02)
    for _ in range(3):
        assert script.visit(HERE, "A", after=10) == 0.05
        script.visit(THERE, "B", after=gap)
    assert script.core.totals.synchronised == 1
    assert script.core.pairs[HERE, THERE].state is State.SYNCHRONISED
    assert script.visit(HERE, "A", after=10) == 0
    script.visit(THERE, "B", after=gap)
    assert script.core.totals.synchronised == 1


def test_a_party_that_keeps_its_own_time() -> None:
    """A party that comes later than a delay lasts has not been waiting for its end."""
    script = Script(decay=1)
    script.near(gap=0.08)
    for _ in range(5):
        assert script.visit(HERE, "A", after=10) == 0.05
        script.visit(THERE, "B", after=0.03)
    assert script.core.totals.synchronised == 0


def test_a_party_that_comes_late() -> None:
    """A party that comes later after a delay than ever before has not waited for it alone."""
    script = Script(decay=1)
    script.near(gap=0.02)
    for _ in range(5):
        assert script.visit(HERE, "A", after=10) == 0.05
        script.visit(THERE, "B", after=0.06)
    assert script.core.totals.synchronised == 0


def test_a_pair_that_is_first_near_after_a_delay() -> None:
    """A pair without an undelayed operation allows no conclusion."""
    script = Script(decay=1, stalls=1)
    script.near()
    assert script.visit(HERE, "A", after=10) == 0.05
    script.visit(ELSEWHERE, "C")
    assert (
        script.core.pairs[ELSEWHERE, HERE]
        if ELSEWHERE < HERE
        else script.core.pairs[HERE, ELSEWHERE].state is State.DANGEROUS
    )


def test_decay() -> None:
    """Each delay makes the next at that place less likely, and takes nothing from another's."""
    script = Script(floor=1000)
    script.near()
    delays = [script.visit(HERE, "A", after=10) for _ in range(200)]
    assert 2 <= sum(map(bool, delays)) <= 20
    assert sum(map(bool, delays[:5])) > sum(map(bool, delays[-100:]))
    script.visit(ELSEWHERE, "A", after=10)
    script.visit(THERE, "B", after=0.02)
    assert script.visit(ELSEWHERE, "A", after=10) == 0.05


def test_seed() -> None:
    """The same seed makes the same choices, another one others."""

    def choices(seed: int) -> list[float]:
        script = Script(ProbePolicy(ProbeSettings(seed=seed, floor=1000), began=0))
        script.near()
        return [script.visit(HERE, "A", after=10) for _ in range(50)]

    assert choices(1) == choices(1)
    assert len({tuple(choices(seed)) for seed in range(5)}) > 1


def test_floor_and_budget() -> None:
    """All delays together are two seconds, or a tenth of the run if that is more."""
    script = Script(decay=1, rate=100)
    script.near()
    script.now = 15
    delays = [script.visit(HERE, "A") for _ in range(100)]
    assert sum(delays) == pytest.approx(2, abs=0.06)
    script.now = 30
    delays = [script.visit(HERE, "A") for _ in range(100)]
    assert sum(delays) == pytest.approx(1.15, abs=0.06)  # the run goes on while they last
    assert script.core.totals.spent == pytest.approx(sum(delays) + 2, abs=0.06)


def test_rate() -> None:
    """One direction has at most four delays in a second."""
    script = Script(decay=1)
    script.near()
    script.now = 50
    assert [bool(script.visit(HERE, "A")) for _ in range(6)] == [True] * 4 + [False] * 2
    assert script.visit(HERE, "A", after=1) == 0.05


def test_no_rate() -> None:
    """With a rate of none there is no delay."""
    script = Script(rate=0)
    script.near()
    assert script.visit(HERE, "A", after=10) == 0


def test_one_delay_at_a_time() -> None:
    """While one operation is held back, no other is, on whichever stream."""
    script = Script()
    script.near()
    assert script.visit(HERE, "A", after=10) == 0.05
    other = Script(script.core)
    other.now = script.now - 0.01
    assert other.visit(HERE, "C") == 0


@pytest.mark.parametrize(("allowed", "delay"), [(0.02, 0.02), (0.009, 0.0), (0.0, 0.0)])
def test_allowance(allowed: float, delay: float) -> None:
    """A delay takes no longer than what is allowed, and too short a one is left out."""
    script = Script()
    script.near()
    assert script.visit(HERE, "A", after=10, allowed=lambda: allowed) == delay


def test_interrupted() -> None:
    """Where a delayed operation timed out, delays are half as long each time, and then none."""
    script = Script(decay=1)
    script.near()
    delays = []
    for _ in range(4):
        delays.append(script.visit(HERE, "A", after=10))
        script.core.interrupted(ProbedOperation(HERE, "A"))
    assert delays == [0.05, 0.025, 0.0125, 0]


def test_repeated() -> None:
    """A visit stands for the next one if that is the same, undelayed and without consequences."""
    script = Script()
    script.visit(HERE, "A")
    last = script.track.last
    assert last is not None
    assert script.core.is_repeated(last, HERE, "A")
    assert not script.core.is_repeated(last, THERE, "A")
    assert not script.core.is_repeated(last, HERE, "B")
    script.near()
    assert not script.core.is_repeated(last, HERE, "A")
    last.delay = 0.05
    assert not script.core.is_repeated(last, HERE, "A")
