"""The baseline: findings that are known for now, in a file that the guard writes and that shrinks.

Sites are ``file:function``, files relative to the project; line numbers would make every edit
above a finding a new finding.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .._catalogue import words
from .._catalogue.files import FileError, json_of, replace
from .._findings.records import Finding
from .paths import names, sites

SCHEMA = "grpc-guard-baseline/1"


class AdoptionError(ValueError):
    """An allow-list or a baseline cannot be used; the message names the file and the entry."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """An entry of the baseline: a finding as it was seen when the baseline was written.

    The sites are those of both parties, sorted: which party comes first is a matter of luck.
    """

    rule: str
    rpc: str
    side: str
    sites: tuple[str, ...]

    @classmethod
    def of(cls, finding: Finding, root: Path) -> Known:
        found = sorted(names(frame, root)[1] for frame in sites(finding))
        return cls(finding.rule.name, finding.rpc, finding.side, tuple(found))

    def covers(self, other: Known) -> bool:
        """Tell whether `other` is this one, or this one without a party, which had left.

        An entry without a line equals only another without a line: it does not identify a race.
        """
        if self == other:
            return True
        mine, its = dataclasses.replace(self, sites=()), dataclasses.replace(other, sites=())
        return mine == its and other.sites != () and Counter(other.sites) <= Counter(self.sites)

    def __str__(self) -> str:
        where = " against ".join(self.sites) or "no line"
        return words.printable(f"{self.rule} on {self.rpc} ({self.side}): {where}")


def read_baseline(path: Path, option: str) -> list[Known]:
    """Return the entries of a baseline file, which `option` named.

    Raises AdoptionError that names both and what is wrong.
    """
    named = f"{option}: {path}"
    try:
        data = json_of(path)
        if data["schema"] != SCHEMA:
            raise FileError(f"schema {data['schema']!r:.80} is not {SCHEMA!r}")
        return [_known(**entry) for entry in data["findings"]]
    except FileNotFoundError as error:
        raise AdoptionError(f"{named}: {error.strerror}") from None
    except FileError as error:
        raise AdoptionError(f"{named}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise AdoptionError(f"{named}: not a baseline file ({error!s:.200})") from None


def _known(rule: str, rpc: str, side: str, sites: list[str]) -> Known:
    if not isinstance(sites, list) or not all(
        isinstance(value, str) for value in (rule, rpc, side, *sites)
    ):
        raise TypeError("rule, rpc, side and sites are texts")
    return Known(rule, rpc, side, tuple(sorted(sites)))


def read_if_there(path: Path, option: str) -> list[Known]:
    """Return what :func:`read_baseline` does, no entries if the file is missing or empty."""
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return []
    return read_baseline(path, option)


@dataclasses.dataclass(frozen=True)
class Merged:
    """A baseline into which the findings of a run are merged."""

    entries: Sequence[Known]
    added: Sequence[Known]
    removed: Sequence[Known]

    @classmethod
    def of(cls, before: Sequence[Known], found: Iterable[Known], *, removes: bool) -> Merged:
        """Merge `found` into the entries `before`; with `removes`, drop entries not found."""
        found = sorted({*found}, key=str)
        known = [entry for entry in before if not removes or any(map(entry.covers, found))]
        added: list[Known] = []
        for entry in sorted(found, key=lambda entry: -len(entry.sites)):
            if not any(other.covers(entry) for other in (*known, *added)):
                added.append(entry)
        return cls(
            sorted({*known, *added}, key=str),
            sorted(added, key=str),
            [entry for entry in before if entry not in known],
        )

    def write(self, path: Path) -> None:
        """Write it to `path`, whole or not at all. Raises OSError."""
        data = {
            "schema": SCHEMA,
            "findings": [dataclasses.asdict(entry) for entry in self.entries],
        }
        replace(path, json.dumps(data, indent=2) + "\n")

    def lines(self, path: Path) -> Iterator[str]:
        """Yield the lines to print: its size, and what has changed."""
        yield f"baseline written to {path}: {words.count(len(self.entries), 'entry', 'entries')}"
        yield from (f"  added: {entry}" for entry in self.added)
        yield from (f"  removed, as it was not found: {entry}" for entry in self.removed)
