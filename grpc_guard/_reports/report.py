"""The content of a report, which does not depend on its format."""

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
    """The findings of one process, or of several, and what a report says about them.

    ``findings`` may be given as they were found: equal ones are merged here, and their files made
    relative to ``root``. ``pid`` is that of the process, or of the first one; ``streams`` and
    ``operations`` are the numbers that were guarded. ``excuse(finding)`` returns why a finding does
    not count, None if it does. ``notes`` are more lines for a summary, ``in_progress`` is what
    processes did before they were ended from outside, and ``unguarded`` is why processes, by pid,
    were not guarded; ``cut_off`` is which signal ended some before they told their totals.
    ``not_kept`` counts findings that were too many to be kept, by the names of rule and RPC. A
    format shows what it has a place for.
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
    cut_off: Mapping[int, str] = dataclasses.field(default_factory=dict)
    not_kept: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        found = merged(relocated(finding, self.root) for finding in self.findings)
        object.__setattr__(self, "findings", found)


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return `findings` of several processes with equal ones merged, their counts added."""
    entries: dict[tuple[object, ...], Finding] = {}
    for finding in findings:
        known = entries.get(finding.key)
        entries[finding.key] = (
            finding
            if known is None
            else dataclasses.replace(known, count=known.count + finding.count)
        )
    return list(entries.values())
