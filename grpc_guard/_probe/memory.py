"""What one run leaves to the next: the pairs, as a document of JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .._catalogue.files import FileError, json_of, replace, whole
from .pairs import Pair, Place, State
from .settings import Totals

SCHEMA = "grpc-guard-probe/1"

_KEPT = 20  # runs; a pair that did not come near in so many is forgotten: the program has changed

Document = dict[str, Any]


class ProbeFileError(ValueError):
    """A probe file cannot be used; the message says why."""


class Memory(NamedTuple):
    """The pairs that are known, and how many runs there were."""

    runs: int = 0
    pairs: tuple[Pair, ...] = ()

    def copies(self) -> list[Pair]:
        """Return copies of the pairs for a run, which learns more about them."""
        return [pair.copy() for pair in self.pairs]

    def merged(self, learnt: Iterable[Pair]) -> Memory:
        """Return the memory after one more run, whose processes have learnt `learnt`."""
        run = self.runs + 1
        told: dict[tuple[Place, Place], Pair] = {}
        for pair in learnt:
            other = told.get(pair.places)
            told[pair.places] = pair if other is None else _more_certain(other, pair)
        known = {pair.places: pair for pair in self.pairs} | told
        kept = (pair for pair in known.values() if run - pair.last_run < _KEPT)
        return Memory(run, tuple(sorted(kept, key=lambda pair: pair.places)))


_CERTAINTY = [State.DANGEROUS, State.SYNCHRONISED, State.FOUND]


def _more_certain(one: Pair, other: Pair) -> Pair:
    def certainty(pair: Pair) -> tuple[int, int, int]:
        return _CERTAINTY.index(pair.state), pair.stalls, pair.last_run

    best = max(other, one, key=certainty)
    best.first_run = min(one.first_run, other.first_run)
    best.last_run = max(one.last_run, other.last_run)
    return best


class Learnt(NamedTuple):
    """What the probe of a process did, and the pairs that it knows now."""

    totals: Totals
    pairs: tuple[Pair, ...]

    def told(self) -> Document:
        """Return this as data that another process can :meth:`read`."""
        return {"totals": list(self.totals), "memory": to_document(Memory(0, self.pairs))}

    @classmethod
    def read(cls, told: Document) -> Learnt:
        """Read back what :meth:`told` returned. Raises ValueError, KeyError or TypeError."""
        totals = Totals(*told["totals"])
        if not all(type(total) in (int, float) for total in totals):
            raise ProbeFileError("totals that are no numbers")
        return cls(totals, from_document(told["memory"]).pairs)


_NOWHERE = Path()  # files stay as they are


def to_document(memory: Memory, root: Path = _NOWHERE) -> Document:
    """Return `memory` as a document, files below `root` relative to it."""
    return {
        "schema": SCHEMA,
        "runs": memory.runs,
        "pairs": [
            {
                "places": [
                    {**place._asdict(), "file": _relative(place.file, root)}
                    for place in pair.places
                ],
                "state": pair.state.value,
                "first_run": pair.first_run,
                "last_run": pair.last_run,
                "stalls": pair.stalls,
                "gaps": pair.gaps,
            }
            for pair in memory.pairs
        ],
    }


def from_document(document: Any, root: Path = _NOWHERE) -> Memory:
    """Read back what :func:`to_document` made. Raises ProbeFileError."""
    try:
        if document["schema"] != SCHEMA:
            raise ProbeFileError(f"schema {document['schema']!r:.80} is not {SCHEMA!r}")
        return Memory(
            whole(document["runs"]), tuple(_pair(root, **data) for data in document["pairs"])
        )
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ProbeFileError(f"not a file of the probe ({error!r:.200})") from None
    except (ValueError, OverflowError) as error:
        raise ProbeFileError(f"not a file of the probe ({error!s:.200})") from None


def _pair(root: Path, places: Any, state: str, gaps: Any, **runs: Any) -> Pair:
    one, other = (_place(root, **place) for place in places)
    first, second = (None if gap is None else _seconds(gap) for gap in gaps)
    return Pair(
        (one, other) if one <= other else (other, one),
        State(state),
        gaps=(first, second),
        **{name: whole(number) for name, number in runs.items()},
    )


def _place(root: Path, file: str, line: int, function: str) -> Place:
    if not isinstance(file, str) or not isinstance(function, str):
        raise TypeError("file and function are texts")
    return Place(os.path.join(root, file) if file else "", whole(line), function)


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{seconds} is not a time")
    return seconds


def _relative(file: str, root: Path) -> str:
    try:
        return Path(file).relative_to(root).as_posix() if file and root.is_absolute() else file
    except ValueError:
        return file


def load(path: Path, root: Path = _NOWHERE) -> Memory:
    """Return the memory in the file `path`, empty if it does not exist. Raises ProbeFileError."""
    try:
        return from_document(json_of(path), root)
    except FileNotFoundError:
        return Memory()
    except FileError as error:
        raise ProbeFileError(str(error)) from None
    except ProbeFileError:
        raise
    except ValueError as error:
        raise ProbeFileError(f"not a file of the probe ({error!s:.200})") from None


def save(memory: Memory, path: Path, root: Path = _NOWHERE) -> None:
    """Write `memory` to `path`, whole or not at all. Raises OSError."""
    replace(path, json.dumps(to_document(memory, root), indent=1) + "\n")
