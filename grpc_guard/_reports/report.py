"""What a report is made of, whatever its format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from .._findings.records import Finding
from .._inspect.records import Snapshot
from .paths import relocated


def _no_excuse(finding: Finding) -> str | None:
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The findings of one process, or of several, and what is to be said of them.

    ``findings`` may be given as they were found: here, equal ones are one, and their files are
    relative to ``root``. ``pid`` is the process's, or the first one's; ``streams`` and
    ``operations`` are how many were guarded. ``excuse(finding)`` says why one does not count,
    None if it does. ``notes`` are more lines for a summary, ``in_progress`` what processes were
    doing before they were ended from outside, and ``unguarded`` says of processes, by their pid,
    why they were not guarded. ``not_kept`` counts findings that are too many to be in ``findings``,
    by the names of rule and RPC. A format shows what it has a place for.
    """

    findings: Sequence[Finding]
    root: Path
    mode: str
    pid: int
    streams: int
    operations: int
    excuse: Callable[[Finding], str | None] = _no_excuse
    notes: Sequence[str] = ()
    in_progress: Sequence[Snapshot] = ()
    unguarded: Mapping[int, str] = dataclasses.field(default_factory=dict)
    not_kept: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        found = merged(relocated(finding, self.root) for finding in self.findings)
        object.__setattr__(self, "findings", found)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return `findings` of several processes with equal ones made one, their counts added."""
    entries: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        known = entries.get(finding.key)
        entries[finding.key] = (
            finding
            if known is None
            else dataclasses.replace(known, count=known.count + finding.count)
        )
    return list(entries.values())
