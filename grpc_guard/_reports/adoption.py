"""Adopting the guard on a large code base: findings that are allowed, or known for now.

The allow-list is written by people, with a reason for each entry. The baseline is written by
the guard, and shrinks: known findings do not fail, and those that are gone are reported as
removable. Sites are ``file:function``, files relative to the project; line numbers would
make every edit above a finding a new finding.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .._catalogue.catalogue import RULES
from .._findings.records import Finding, Frame
from .paths import relative

SCHEMA = "grpc-guard-baseline/1"


class AdoptionError(ValueError):
    """An allow-list or a baseline cannot be used; the message names the file and the entry."""


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
            for frame in _sites(finding)
            for name in _names(frame, root)
        )

    def __str__(self) -> str:
        return f"{self.rule} at {self.site} ({self.reason})"


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """An entry of the baseline: a finding as it was seen when the baseline was written.

    The sites are those of both parties in no order: who comes first is a matter of luck.
    """

    rule: str
    rpc: str
    side: str
    sites: tuple[str, ...]

    @classmethod
    def of(cls, finding: Finding, root: Path) -> Known:
        sites = sorted(_names(frame, root)[1] for frame in _sites(finding))
        return cls(finding.rule.name, finding.rpc, finding.side, tuple(sites))

    def covers(self, other: Known) -> bool:
        """Tell whether `other` is this one, seen with a party less: it had left by then."""
        mine, its = dataclasses.replace(self, sites=()), dataclasses.replace(other, sites=())
        return mine == its and Counter(other.sites) <= Counter(self.sites)

    def __str__(self) -> str:
        return f"{self.rule} on {self.rpc} ({self.side}): {' against '.join(self.sites)}"


def _sites(finding: Finding) -> list[Frame]:
    owners = (finding.caller, finding.owner)
    return [owner.site for owner in owners if owner is not None and owner.site is not None]


def _names(frame: Frame, root: Path) -> tuple[str, str]:
    file = relative(frame.file, root)
    return file, f"{file}:{frame.function}"


class Adoption:
    """What of a run's findings is new, and which entries it did not need."""

    def __init__(
        self, root: Path, allowed: Sequence[Allowed] = (), known: Iterable[Known] = ()
    ) -> None:
        self.root = root
        self._allowed = tuple(allowed)
        self._known = dict.fromkeys(known)

    def excuse(self, finding: Finding) -> str | None:
        """Return why `finding` does not count, None if it is new."""
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
        if seen in self._known:
            return seen
        return next((known for known in self._known if known.covers(seen)), None)

    def with_baseline_of(self, findings: Iterable[Finding]) -> Adoption:
        """Return the same allow-list with a baseline of all errors that it does not allow."""
        allowing = Adoption(self.root, self._allowed)
        known = {
            Known.of(finding, self.root)
            for finding in findings
            if finding.severity == "error" and allowing.is_new(finding)
        }
        return Adoption(self.root, self._allowed, sorted(known, key=str))

    def write_baseline(self, path: Path) -> int:
        """Write the baseline to `path`; return the number of its entries. Raises OSError."""
        data = {"schema": SCHEMA, "findings": [dataclasses.asdict(entry) for entry in self._known]}
        path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        return len(self._known)

    def lines(self, findings: Iterable[Finding]) -> Iterator[str]:
        """Yield what the summary says of `findings`: entries used, unused and removable."""
        used: Counter[Allowed | Known | None] = Counter()
        for finding in findings:
            used[self._entry_for(finding)] += finding.count
        for allowed in self._allowed:
            if used[allowed]:
                yield f"allowed, {used[allowed]}x: {allowed}"
            else:
                yield f"allowed but not found, removable from the allow-list: {allowed}"
        known = sum(1 for entry in self._known if used[entry])
        if known:
            yield f"known from the baseline: {known}"
        for entry in self._known:
            if not used[entry]:
                yield f"known but not found, removable from the baseline: {entry}"


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
            f"{source}: {entry['rule']!r} is not a rule; use {', '.join(sorted(RULES))} or *"
        )
    return Allowed(**entry)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def allowed_in_pyproject(folder: Path) -> list[Allowed]:
    """Return the allow-list of ``[tool.grpc_guard]`` in the folder's pyproject.toml, if any."""
    path = folder / "pyproject.toml"
    if not path.is_file():
        return []
    content = path.read_bytes()
    if b"tool.grpc_guard" not in content:
        return []  # nothing of ours: not even worth a parser
    try:
        table: Any = tomllib.loads(content.decode())["tool"]["grpc_guard"]
    except ValueError as error:
        raise AdoptionError(f"{path}: {error}") from None
    except KeyError:
        return []  # it was in a comment
    source = f"{path}, tool.grpc_guard"
    if set(table) - {"allow"}:
        raise AdoptionError(f"{source}: {min(set(table) - {'allow'})!r} is no setting; use allow")
    return allowed_from(table.get("allow", []), f"{source}.allow")


def read_baseline(path: Path) -> list[Known]:
    """Return the entries of a baseline file; AdoptionError names what is wrong with it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise AdoptionError(f"{path}: schema {data['schema']!r} is not {SCHEMA!r}")
        return [_known(**entry) for entry in data["findings"]]
    except OSError as error:
        raise AdoptionError(f"{path}: {error.strerror}") from None
    except AdoptionError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise AdoptionError(f"{path}: not a baseline file ({error})") from None


def _known(rule: str, rpc: str, side: str, sites: list[str]) -> Known:
    if not all(isinstance(value, str) for value in (rule, rpc, side, *sites)):
        raise TypeError("rule, rpc, side and sites are texts")
    return Known(rule, rpc, side, tuple(sites))
