"""A guarded run: the reports of its processes, judged and summed up, for every way in."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .._catalogue.words import count
from .._findings import wording
from .._findings.records import Finding
from .._probe.pairs import Pair
from .._probe.settings import Totals
from .adoption import Adoption
from .baseline import Merged, read_if_there
from .paths import relocated
from .process import Process
from .report import Report, merged
from .summary import summary


@dataclasses.dataclass(frozen=True)
class GuardedRun:
    """The outcome of a program, or of a test session, in all its processes.

    A way in decides where settings come from, which processes there are, and where text goes.
    """

    adoption: Adoption
    processes: Sequence[Process]
    is_probed: bool = False
    gap: str | None = None  # why it may have missed findings; None if everything ran

    @property
    def findings(self) -> list[Finding]:
        return [finding for process in self.processes for finding in process.findings]

    @property
    def new_findings(self) -> list[Finding]:
        """Those of :attr:`findings` that are neither allowed nor known."""
        return [finding for finding in self.findings if self.adoption.is_new(finding)]

    @property
    def failing(self) -> list[Finding]:
        """The findings for which the run fails; without any it passes."""
        return [finding for finding in self.new_findings if finding.severity == "error"]

    @property
    def streams(self) -> int:
        return sum(process.streams for process in self.processes)

    @property
    def operations(self) -> int:
        return sum(process.operations for process in self.processes)

    @property
    def pairs(self) -> list[Pair]:
        """What the probe has learnt."""
        return [pair for process in self.processes for pair in process.pairs]

    @property
    def unguarded(self) -> dict[int, str]:
        """Why processes, by their pid, were not guarded."""
        return {
            process.pid: process.unguarded
            for process in self.processes
            if process.unguarded is not None
        }

    @property
    def cut_off(self) -> dict[int, str]:
        """Which signal ended processes, by their pid, before they told their totals."""
        return {one.pid: one.cut_off for one in self.processes if one.cut_off is not None}

    @property
    def not_kept(self) -> Counter[tuple[str, str]]:
        """How many findings were counted and not kept, by the names of rule and RPC."""
        return functools.reduce(
            operator.add, (Counter(process.not_kept) for process in self.processes), Counter()
        )

    def summary(self) -> Iterator[str]:
        """Yield what was guarded, and the new findings by rule and call site."""
        found = merged(relocated(finding, self.adoption.root) for finding in self.new_findings)
        return summary(
            found,
            streams=self.streams,
            operations=self.operations,
            unguarded=self.unguarded,
            cut_off=self.cut_off,
            not_kept=self.not_kept.total(),
        )

    def notes(self) -> Iterator[str]:
        """Yield the lines below the summary: about damage, allow-lists, baseline and probe."""
        for process in self.processes:
            if process.unreadable:
                lines = count(process.unreadable, "line")
                yield f"{lines} from process {process.pid} cannot be read; findings may be missing"
        yield from self.adoption.lines(self.findings, self.gap)
        yield from self._probed()

    def _probed(self) -> list[str]:
        totals = functools.reduce(
            Totals.plus, (process.probed for process in self.processes), Totals()
        )
        return [wording.probed(*totals)] if self.is_probed else []

    def report(self, mode: str, pid: int) -> Report:
        """Return the report of the run; its first process is `pid`."""
        return Report(
            self.findings,
            self.adoption.root,
            mode,
            pid,
            self.streams,
            self.operations,
            excuse=self.adoption.excuse,
            notes=self._probed(),
            in_progress=[one.in_progress for one in self.processes if one.in_progress is not None],
            unguarded=self.unguarded,
            cut_off=self.cut_off,
            not_kept=self.not_kept,
        )

    def merged_into(self, path: Path, option: str) -> Merged:
        """Return the baseline in the file `path`, merged with all errors that are not allowed.

        If there is no gap, entries that were not found are removed. Raises AdoptionError.
        """
        found = self.adoption.to_write(self.findings)
        return Merged.of(read_if_there(path, option), found, removes=self.gap is None)

    def knowing(self, merged: Merged) -> GuardedRun:
        """Return the same run with the baseline `merged`: then it has no new findings."""
        return dataclasses.replace(self, adoption=self.adoption.with_known(merged.entries))
