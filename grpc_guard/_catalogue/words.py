"""Words that reports and errors share: counts, durations, and names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `number` with its noun: 1 stream, 2 streams."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def duration(seconds: float | None) -> str:
    """Return `seconds` for people: 3 ms, 12.5 s, 4 min."""
    if seconds is None:
        return "an unknown time"
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min"


def unknown(name: object, kind: str, choices: Iterable[str]) -> str:
    """Return what is said of a name that nothing of this `kind` has, with the nearest that is."""
    names = list(choices)
    meant = nearest(str(name), names)
    hint = "." if meant is None else f"; did you mean {meant!r}?"
    return f"{name!r} is not a {kind}{hint} The {kind}s: {', '.join(names)}"


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return which of `choices` was probably meant by `name`, None if none is near it."""
    import difflib  # here: only who has made a mistake pays for it

    return next(iter(difflib.get_close_matches(name, choices, n=1, cutoff=0.4)), None)
