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
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ._findings import Finding, Frame, Owner
from ._rules import RULES

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
    """An entry of the baseline: a finding as it was seen when the baseline was written."""

    rule: str
    rpc: str
    side: str
    caller: str
    owner: str | None

    @classmethod
    def of(cls, finding: Finding, root: Path) -> Known:
        owner = None if finding.owner is None else _place(finding.owner, root)
        caller = _place(finding.caller, root)
        return cls(finding.rule.name, finding.rpc, finding.side, caller, owner)

    def __str__(self) -> str:
        against = f" against {self.owner}" if self.owner is not None else ""
        return f"{self.rule} on {self.rpc} ({self.side}): {self.caller}{against}"


def _sites(finding: Finding) -> list[Frame]:
    owners = (finding.caller, finding.owner)
    return [owner.site for owner in owners if owner is not None and owner.site is not None]


def _names(frame: Frame, root: Path) -> tuple[str, str]:
    file = relative(frame.file, root)
    return file, f"{file}:{frame.function}"


def _place(owner: Owner, root: Path) -> str:
    return owner.operation if owner.site is None else _names(owner.site, root)[1]


def relative(file: str, root: Path) -> str:
    """Return `file` relative to `root` where it lies below it, with forward slashes."""
    try:
        return Path(file).relative_to(root).as_posix()
    except ValueError:
        return file.replace(os.sep, "/")


class Adoption:
    """What of a run's findings is new, and which entries it did not need."""

    def __init__(
        self, root: Path, allowed: Sequence[Allowed] = (), known: Sequence[Known] = ()
    ) -> None:
        self.root = root
        self._allowed = tuple(allowed)
        self._known = tuple(known)

    def is_new(self, finding: Finding) -> bool:
        """Tell whether `finding` is neither allowed nor in the baseline."""
        return self._entry_for(finding) is None

    def _entry_for(self, finding: Finding) -> Allowed | Known | None:
        for entry in self._allowed:
            if entry.matches(finding, self.root):
                return entry
        known = Known.of(finding, self.root)
        return known if known in self._known else None

    def lines(self, findings: Iterable[Finding]) -> Iterator[str]:
        """Yield what the summary says of `findings`: entries used, unused and removable."""
        used: Counter[Allowed | Known | None] = Counter()
        for finding in findings:
            used[self._entry_for(finding)] += finding.count
        for allowed in self._allowed:
            if used[allowed]:
                yield f"allowed, {used[allowed]} times: {allowed}"
            else:
                yield f"allowed but not found any more, remove the entry: {allowed}"
        known = sum(1 for entry in self._known if used[entry])
        if known:
            yield f"known from the baseline: {known}"
        for entry in self._known:
            if not used[entry]:
                yield f"in the baseline but not found any more, remove the entry: {entry}"


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
    if b"grpc_guard" not in content:
        return []  # nothing of ours: not even worth a parser
    try:
        table: Any = _toml(content.decode()).get("tool", {}).get("grpc_guard", {})
    except ValueError as error:
        raise AdoptionError(f"{path}: {error}") from None
    return allowed_from(table.get("allow", []), f"{path}, tool.grpc_guard.allow")


def _toml(content: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError:
            raise AdoptionError("reading pyproject.toml on Python 3.10 needs tomli") from None
    parsed: dict[str, Any] = tomllib.loads(content)
    return parsed


def read_baseline(path: Path) -> list[Known]:
    """Return the entries of a baseline file; AdoptionError names what is wrong with it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            raise AdoptionError(f"{path}: schema {data['schema']!r} is not {SCHEMA!r}")
        return [Known(**entry) for entry in data["findings"]]
    except OSError as error:
        raise AdoptionError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, AdoptionError):
            raise
        raise AdoptionError(f"{path}: not a baseline file ({error})") from None


def write_baseline(path: Path, findings: Iterable[Finding], root: Path) -> int:
    """Write what is found now to `path` as the baseline; return the number of entries."""
    known = sorted({Known.of(finding, root) for finding in findings}, key=str)
    data = {"schema": SCHEMA, "findings": [dataclasses.asdict(entry) for entry in known]}
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return len(known)
