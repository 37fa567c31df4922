"""Running programs of the corpus under the probe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scheduling import Stage, VirtualStage

from grpc_guard import guarded
from grpc_guard._probe.memory import Learnt, Memory
from grpc_guard._probe.process import probe


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


def learnt() -> Learnt:
    result = probe.learnt()
    assert result is not None
    return result
