"""Words that reports and errors share: counts, durations, parties, and names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable

from .nouns import Party


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `number` with its noun: 1 stream, 2 streams."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


SHOWN = 200  # characters of a name that comes from outside


def escaped(name: str) -> str:
    """Return `name` as it may stand in a log, on a terminal and in a file; cut after SHOWN characters.

    A client chooses the names of methods, and a target or the name of a thread may hold anything:
    unprintable characters, such as a line feed or ESC, are written as in a Python literal.
    """
    return printable(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def printable(text: str) -> str:
    """Return `text` for one line of a terminal: what cannot be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def quoted(name: str) -> str:
    """Return `name` in quotes, escaped and cut as escaped() does."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def duration(seconds: float | None) -> str:
    """Return `seconds` for people: 3 ms, 12.5 s, 4 min."""
    if seconds is None:
        return "an unknown time"
    if seconds < 0.9995:  # more would be 1e+03 ms
        return f"{round(seconds * 1000, 4):.3g} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min"


def party(who: Party) -> str:
    """Return the party in words: task 'reader'."""
    return f"{who.kind} {quoted(who.name)}"


def place(who: Party) -> str:
    """Return the line of the program where `who` was, in words: at app.py:12."""
    site = who.site
    return "at an unknown place" if site is None else f"at {site.file}:{site.line}"


def place_and_party(who: Party) -> str:
    """Return where a party was, and its name: at app.py:12 by task 'reader'."""
    return f"{place(who)} by {party(who)}"


def lease(target: str, taker: Party) -> str:
    """Return a lease of a registry in words: the party that took it."""
    return f"the lease of {quoted(target)} was taken {place_and_party(taker)}"


def made(maker: Party, how: str = "made") -> str:
    """Return how long ago something was made, and where: made 3 ms ago at app.py:12."""
    return f"{how} {duration(maker.held_seconds)} ago {place(maker)}"


def unknown(name: object, kind: str, choices: Iterable[str]) -> str:
    """Return the error text for an unknown name of this `kind`, with the nearest known name."""
    names = list(choices)
    meant = nearest(str(name), names)
    hint = "." if meant is None else f"; did you mean {meant!r}?"
    return f"{name!r} is not a {kind}{hint} The {kind}s: {', '.join(names)}"


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """Return the hint for an error that has listed the `choices`; empty if none is near."""
    meant = nearest(name.lower(), choices, cutoff=0.7) if isinstance(name, str) else None
    return "" if meant is None else f". Did you mean {str(meant)!r}?"


def nearest(name: str, choices: Iterable[str], cutoff: float = 0.4) -> str | None:
    """Return the one of `choices` that `name` probably means, None if none is near it."""
    import difflib  # here: needed after a mistake only

    return next(iter(difflib.get_close_matches(name[:80], choices, n=1, cutoff=cutoff)), None)
