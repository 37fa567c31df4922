"""Adopting the guard on a large code base: findings that are allowed, or known for now.

The allow-list is written by people, with a reason for each entry; the baseline (baseline.py) by
the guard. Findings in either do not fail, and entries that are gone are reported as removable
where everything ran that could have found them.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._catalogue import words
from .._catalogue.catalogue import RULES
from .._catalogue.files import FileError, content_of
from .._findings.records import Finding
from .baseline import AdoptionError, Known
from .paths import names, sites


@dataclasses.dataclass(frozen=True, slots=True)
class Allowed:
    """An entry of the allow-list: a rule (or ``*``), a pattern for a call site, and why."""

    rule: str
    site: str
    reason: str

    def matches(self, finding: Finding, root: Path) -> bool:
        if self.rule not in ("*", finding.rule.name):
            return False
        return any(
            fnmatch.fnmatchcase(name, self.site)
            for frame in sites(finding)
            for name in names(frame, root)
        )

    def __str__(self) -> str:
        return f"{self.rule} at {self.site} ({self.reason})"


class Adoption:
    """Which findings of a run are new, and which entries the run did not need."""

    def __init__(
        self, root: Path, allowed: Sequence[Allowed] = (), known: Iterable[Known] = ()
    ) -> None:
        self.root = root
        self._allowed = tuple(allowed)
        self._known = dict.fromkeys(known)

    def excuse(self, finding: Finding) -> str | None:
        """Return the reason why `finding` does not count, None if it is new."""
        entry = self._entry_for(finding)
        if entry is None:
            return None
        return entry.reason if isinstance(entry, Allowed) else "known from the baseline"

    def is_new(self, finding: Finding) -> bool:
        """Tell whether `finding` is neither allowed nor in the baseline."""
        return self._entry_for(finding) is None

    def _entry_for(self, finding: Finding) -> Allowed | Known | None:
        for entry in self._allowed:
            if entry.matches(finding, self.root):
                return entry
        seen = Known.of(finding, self.root)
        if seen in self._known:  # most are known
            return seen
        return next((known for known in self._known if known.covers(seen)), None)

    def to_write(self, findings: Iterable[Finding]) -> list[Known]:
        """Return the entries for all errors among `findings` that the allow-list does not allow."""
        allowing = Adoption(self.root, self._allowed)
        return [
            Known.of(finding, self.root)
            for finding in findings
            if finding.severity == "error" and allowing.is_new(finding)
        ]

    def with_known(self, entries: Iterable[Known]) -> Adoption:
        """Return the same allow-list with the baseline `entries`."""
        return Adoption(self.root, self._allowed, entries)

    def lines(self, findings: Iterable[Finding], gap: str | None = None) -> Iterator[str]:
        """Yield what the summary says of `findings`: entries used, unused and removable.

        `gap` says why a finding may exist that did not occur; None if everything ran.
        """
        used: Counter[Allowed | Known | None] = Counter()
        for finding in findings:
            used[self._entry_for(finding)] += finding.count
        for allowed in self._allowed:
            if used[allowed]:
                yield f"allowed, {used[allowed]}x: {allowed}"
            elif gap is None:
                yield f"allowed but not found, removable from the allow-list: {allowed}"
        known = sum(1 for entry in self._known if used[entry])
        if known:
            yield f"known from the baseline: {known}"
        if gap is None:
            for entry in self._known:
                if not used[entry]:
                    yield f"known but not found, removable from the baseline: {entry}"
        entries: list[Allowed | Known] = [*self._allowed, *self._known]
        unused = sum(1 for entry in entries if not used[entry])
        if gap is not None and unused:
            them = words.count(unused, "entry", "entries")
            yield f"not found: {them}; whether they can be removed is not known: {gap}"
        lineless = sum(1 for entry in self._known if not entry.sites)
        if lineless:
            them = words.count(lineless, "entry", "entries")
            yield f"the baseline has {them} without a line, which match only findings without a line"


def allowed_from(entries: object, source: str) -> list[Allowed]:
    """Check the allow-list `entries` (tables with rule, site, reason) read from `source`."""
    if not isinstance(entries, list):
        raise AdoptionError(f"{source}: the allow-list must be a list of tables")
    return [_allowed(entry, f"{source}, entry {number}") for number, entry in enumerate(entries, 1)]


def allowed_from_line(line: str, source: str) -> Allowed:
    """Read one line of an ini file: ``RULE SITE REASON``, the reason to the end of the line."""
    words = dict(zip(("rule", "site", "reason"), line.split(None, 2), strict=False))
    return _allowed(words, f"{source}: {line!r}")


def _allowed(entry: object, source: str) -> Allowed:
    wanted = {field.name for field in dataclasses.fields(Allowed)}
    if (
        not isinstance(entry, dict)
        or set(entry) != wanted
        or not all(map(_is_text, entry.values()))
    ):
        raise AdoptionError(f"{source}: an entry has a rule, a site and a reason, each a text")
    if entry["rule"] != "*" and entry["rule"] not in RULES:
        raise AdoptionError(
            f"{source}: {entry['rule']!r:.80} is not a rule; use {', '.join(sorted(RULES))} or *"
            f"{words.did_you_mean(entry['rule'], RULES)}"
        )
    return Allowed(**entry)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def allowed_in_pyproject(folder: Path) -> list[Allowed]:
    """Return the allow-list of ``[tool.grpc_guard]`` in the folder's pyproject.toml, if any."""
    path = folder / "pyproject.toml"
    source = f"{path}, tool.grpc_guard"
    try:
        content = content_of(path)
        if b"tool.grpc_guard" not in content:
            return []  # no table of ours: no parser is needed
        table: Any = tomllib.loads(content.decode())["tool"]["grpc_guard"]
    except (FileNotFoundError, KeyError):
        return []  # no table, or only in a comment
    except FileError as error:
        raise AdoptionError(f"{path}: {error}") from None
    except RecursionError:
        raise AdoptionError(f"{path}: nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise AdoptionError(f"{path}: {error!s:.200}") from None
    if not isinstance(table, dict):
        raise AdoptionError(f"{source}: {table!r:.80} is not a table")
    if set(table) - {"allow"}:
        raise AdoptionError(
            f"{source}: {min(set(table) - {'allow'})!r} is not a setting; use allow"
        )
    return allowed_from(table.get("allow", []), f"{source}.allow")
