"""Running programs of the corpus under the probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inside import (
    Allowance,
    Learnt,
    Memory,
    Place,
    ProbedOperation,
    ProbePolicy,
    Prober,
    ProbeSettings,
    Track,
    probe,
)

from grpc_guard import guarded
from support.probe.scheduling import Stage, VirtualStage


@contextmanager
def probing(
    seed: int = 1, *, mode: str = "raise", memory: Memory | None = None, stage: Stage | None = None
) -> Iterator[None]:
    """Probe while the block runs, anew, with what `memory` knows; the time is that of `stage`."""
    probe.remember(memory or Memory())
    with guarded(mode, probe=f"seed={seed}"):
        if isinstance(stage, VirtualStage):
            prober = probe.prober()
            prober.core._began = 0.0
            prober.clock, prober.sleep = stage.clock, stage.pause
            prober.sleep_async = stage.pause_async
        yield


class Always(ProbePolicy):
    """A core that has every operation held back for as long as is allowed, up to `most` seconds."""

    def __init__(self, most: float) -> None:
        super().__init__(ProbeSettings(seed=0), began=0)
        self._most = most
        self.decided: list[float] = []
        self.visits: list[ProbedOperation] = []
        self.given_up: list[ProbedOperation] = []

    def is_repeated(self, last: ProbedOperation, place: Place, party: object) -> bool:
        return False

    def concerns(self, track: Track, visit: ProbedOperation) -> bool:
        return True

    def arrive(
        self, track: Track, visit: ProbedOperation, now: float, allowance: Allowance
    ) -> float:
        self.visits.append(visit)
        self.decided.append(min(self._most, allowance()))
        return self.decided[-1]

    def interrupted(self, visit: ProbedOperation) -> None:
        self.given_up.append(visit)


@contextmanager
def holding(most: float = 0.05, **waits: Any) -> Iterator[Always]:
    """Hold back every operation of the streams that start in the block; `waits` as of Prober."""
    probe.remember(Memory())
    probe.use(ProbeSettings(seed=0))
    core = Always(most)
    probe._probers[""] = Prober(core, **{"sleep": lambda seconds: None, **waits})
    try:
        yield core
    finally:
        probe.use(None)


def learnt() -> Learnt:
    result = probe.learnt()
    assert result is not None
    return result
