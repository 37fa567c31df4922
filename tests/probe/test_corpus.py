"""The probe and the corpus: what races it finds, and that it leaves correct programs alone.

The racy programs run in a time of their own, so that the same happens each time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from inside import Memory
from support.probe.corpus import Program
from support.probe.probing import learnt, probing
from support.probe.racy import RACY
from support.probe.scheduling import RealStage, VirtualStage
from support.probe.synchronised import SYNCHRONISED

import grpc_guard

Found = Callable[[], list[grpc_guard.Finding]]

ONCE = "start_up_once"  # its near miss is over when it is seen


@pytest.mark.parametrize("program", RACY.values(), ids=RACY)
def test_without_the_probe(program: Program) -> None:
    """The guard alone finds nothing: the parties do not meet."""
    with grpc_guard.guarded():
        program(VirtualStage())


@pytest.mark.parametrize("name", [name for name in RACY if name != ONCE])
def test_race(name: str, found: Found) -> None:
    """A latent race happens in the first run, and the finding says how."""
    program, stage = RACY[name], VirtualStage()
    with probing(stage=stage):
        program(stage)
    finding, *_ = found()
    assert finding.rule.startswith("concurrent-")
    assert (finding.side, finding.api) == (program.side, program.api)
    assert finding.message.endswith(
        ", held back there by the probe (50 ms; near miss within 100 ms first seen in run 1)"
    )
    assert finding.owner is not None


def test_race_that_is_near_once(found: Found) -> None:
    """What comes near once in a run is found in the second."""
    memory = Memory()
    for expected in ([], ["concurrent-read"]):
        stage = VirtualStage()
        with probing(memory=memory, stage=stage):
            RACY[ONCE](stage)
        memory = memory.merged(learnt().pairs)
        assert [finding.rule for finding in found()] == expected


@pytest.mark.parametrize("program", SYNCHRONISED.values(), ids=SYNCHRONISED)
def test_look_alike(program: Program) -> None:
    """A program whose parties wait for each other has no finding, and comes to its end."""
    memory = Memory()
    for _ in range(2):
        with probing(memory=memory):
            program(RealStage(seed=1))
        memory = memory.merged(learnt().pairs)
