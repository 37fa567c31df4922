"""What one process of a guarded run reports: its findings, how much it guarded, what it probed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

from .._catalogue.files import whole
from .._findings.records import Finding
from .._inspect.records import Snapshot
from .._probe.memory import Learnt
from .._probe.pairs import Pair
from .._probe.settings import Totals
from .document import finding_from_dict, finding_to_dict


@dataclasses.dataclass
class Process:
    """The report of one process: its findings and its totals."""

    pid: int
    findings: list[Finding] = dataclasses.field(default_factory=list)
    streams: int = 0
    operations: int = 0
    probed: Totals = Totals()  # noqa: RUF009  # a tuple
    pairs: list[Pair] = dataclasses.field(default_factory=list)
    in_progress: Snapshot | None = None  # before it was ended from outside
    not_kept: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    unguarded: str | None = None  # why its streams were not guarded
    cut_off: str | None = None  # the signal that ended it before it told its totals
    unreadable: int = 0  # lines of its file that cannot be read
    has_ended: bool = False  # as far as the guard knows, the last program that it executed

    def add(self, learnt: Learnt) -> None:
        """Add what the probe of the process has learnt."""
        self.probed = self.probed.plus(learnt.totals)
        self.pairs += learnt.pairs

    def told(self) -> dict[str, Any]:
        """Return this as data that another process can :meth:`read`."""
        return {
            "pid": self.pid,
            "findings": [finding_to_dict(finding) for finding in self.findings],
            "streams": self.streams,
            "operations": self.operations,
            "not_kept": not_kept_to_list(self.not_kept),
            "probe": Learnt(self.probed, tuple(self.pairs)).told(),
        }

    @classmethod
    def read(cls, told: dict[str, Any]) -> Process:
        findings = [finding_from_dict(data) for data in told["findings"]]
        process = cls(told["pid"], findings, told["streams"], told["operations"])
        process.not_kept = not_kept_from_list(told["not_kept"])
        process.add(Learnt.read(told["probe"]))
        return process


def not_kept_to_list(counted: Mapping[tuple[str, str], int]) -> list[list[Any]]:
    """Return as plain data how many findings were not kept, by the names of rule and RPC."""
    return [[rule, rpc, number] for (rule, rpc), number in counted.items()]


def not_kept_from_list(told: list[list[Any]]) -> dict[tuple[str, str], int]:
    """Read back what :func:`not_kept_to_list` made; TypeError or ValueError if it is not that."""
    return {(str(rule), str(rpc)): whole(number) for rule, rpc, number in told}


def guarded_so_far() -> tuple[int, int]:
    """Return how many streams and operations this process has guarded, without importing grpc."""
    totals = getattr(sys.modules.get("grpc_guard._core.stream"), "totals", None)
    return (0, 0) if totals is None else totals()  # None if the program has not used gRPC
