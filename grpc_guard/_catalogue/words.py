"""Words that reports and errors share: counts, durations, parties, and names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable

from .nouns import Party


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


def party(who: Party) -> str:
    """Return who it is: task 'reader'."""
    return f"{who.kind} {who.name!r}"


def place(who: Party) -> str:
    """Return the line of the program where `who` was, in words: at app.py:12."""
    site = who.site
    return "at an unknown place" if site is None else f"at {site.file}:{site.line}"


def place_and_party(who: Party) -> str:
    """Return where somebody was, and who: at app.py:12 by task 'reader'."""
    return f"{place(who)} by {party(who)}"


def lease(target: str, taker: Party) -> str:
    """Return whose lease it is, which a registry gave out."""
    return f"the lease of {target!r} was taken {place_and_party(taker)}"


def made(maker: Party, how: str = "made") -> str:
    """Return how long ago something was made, and where: made 3 ms ago at app.py:12."""
    return f"{how} {duration(maker.held_seconds)} ago {place(maker)}"


def unknown(name: object, kind: str, choices: Iterable[str]) -> str:
    """Return what is said of a name that nothing of this `kind` has, with the nearest that is."""
    names = list(choices)
    meant = nearest(str(name), names)
    hint = "." if meant is None else f"; did you mean {meant!r}?"
    return f"{name!r} is not a {kind}{hint} The {kind}s: {', '.join(names)}"


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """Return what is added to an error that has named the `choices`, nothing if none is near."""
    meant = nearest(str(name).lower(), choices, cutoff=0.7)
    return "" if meant is None else f". Did you mean {meant!r}?"


def nearest(name: str, choices: Iterable[str], cutoff: float = 0.4) -> str | None:
    """Return which of `choices` was probably meant by `name`, None if none is near it."""
    import difflib  # here: only who has made a mistake pays for it

    return next(iter(difflib.get_close_matches(name[:80], choices, n=1, cutoff=cutoff)), None)


def printable(text: str) -> str:
    """Return `text` for one line of a terminal: what cannot be printed is escaped."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )
