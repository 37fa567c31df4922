"""What one process of a guarded run tells: its findings, how much it guarded, what it probed."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from .._findings.records import Finding
from .._inspect.records import Snapshot
from .._probe.memory import Learnt
from .._probe.pairs import Pair
from .._probe.settings import Totals
from .document import finding_from_dict, finding_to_dict


@dataclasses.dataclass
class Process:
    """What one process told: its findings and its totals."""

    pid: int
    findings: list[Finding] = dataclasses.field(default_factory=list)
    streams: int = 0
    operations: int = 0
    probed: Totals = Totals()  # noqa: RUF009  # a tuple
    pairs: list[Pair] = dataclasses.field(default_factory=list)
    in_progress: Snapshot | None = None  # before it was ended from outside
    unguarded: str | None = None  # why its streams were not guarded
    has_ended: bool = False  # as far as the guard could see, in the program that it ran last

    def add(self, learnt: Learnt) -> None:
        """Take over what the probe of the process learnt."""
        self.probed = self.probed.plus(learnt.totals)
        self.pairs += learnt.pairs

    def told(self) -> dict[str, Any]:
        """Return what another process can :meth:`read`."""
        return {
            "pid": self.pid,
            "findings": [finding_to_dict(finding) for finding in self.findings],
            "streams": self.streams,
            "operations": self.operations,
            "probe": Learnt(self.probed, tuple(self.pairs)).told(),
        }

    @classmethod
    def read(cls, told: dict[str, Any]) -> Process:
        findings = [finding_from_dict(data) for data in told["findings"]]
        process = cls(told["pid"], findings, told["streams"], told["operations"])
        process.add(Learnt.read(told["probe"]))
        return process


def guarded_so_far() -> tuple[int, int]:
    """Return how many streams and operations this process has guarded, without importing grpc."""
    totals = getattr(sys.modules.get("grpc_guard._core.stream"), "totals", None)
    return (0, 0) if totals is None else totals()  # not there if the program never spoke gRPC
