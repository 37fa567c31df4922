"""Text that fits: blocks of styled words, laid out in lines of a given width.

Words stay whole. A path that is longer than a line loses its beginning; any other word that is
too long continues in the next line.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

CUT = "…"  # stands for the beginning of a path
GAP = "  "  # between columns
NARROW = 18  # columns; if the last cell would have fewer, cells stand below each other
_ENDS = ",([{"  # in source: a line may be broken after one of these
_OPENING = "(<'\"`"
_SEPARATORS = {"/", os.sep}


class Span(NamedTuple):
    """Text in one style, named as in ``bold red``; each printer has its own codes for it."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


class Row(NamedTuple):
    """A line of source: its number, None if it has none, and whether it is *the* line."""

    number: int | None
    text: str
    is_site: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; its lines after the first stand `hang` columns further in. None is an empty line."""

    spans: tuple[Span, ...] = ()
    indent: int = 0
    hang: int = 2

    def lines(self, width: int) -> Iterator[Line]:
        if not self.spans:
            yield ()
            return
        hang = self.indent + self.hang
        line: list[Span] = [Span(" " * self.indent)]
        used, is_begun = self.indent, False
        for word in _words(self.spans):
            for part in _parts(word, max(width - hang, 1), max(width - used, 1)):
                size = sum(columns(piece.text) for piece in part)
                if is_begun and used + 1 + size > width:
                    yield _merged(line)
                    line, used, is_begun = [Span(" " * hang)], hang, False
                if is_begun:
                    is_one = line[-1].style == part[0].style
                    line.append(Span(" ", part[0].style if is_one else ""))
                line += part
                used, is_begun = used + is_begun + size, True
        yield _merged(line)


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """Lines of source behind their numbers."""

    rows: tuple[Row, ...]
    indent: int = 0

    def lines(self, width: int) -> Iterator[Line]:
        digits = max(
            (len(str(row.number)) for row in self.rows if row.number is not None), default=0
        )
        for row in self.rows:
            for number, text in enumerate(_broken(row.text, width - self.indent - _gutter(digits))):
                yield (
                    Span(" " * self.indent),
                    *_margin(row, digits, is_first=not number),
                    Span(text, "code bold" if row.is_site else "code"),
                )


@dataclasses.dataclass(frozen=True, slots=True)
class Columns:
    """Cells side by side, each as wide as `widths` says, the last with what is left.

    If there is too little room, they stand below each other, each below its head if it has one.
    """

    cells: tuple[tuple[Text, ...], ...]
    widths: tuple[int, ...]
    heads: tuple[str, ...] = ()

    def lines(self, width: int) -> Iterator[Line]:
        last = width - sum(self.widths[:-1]) - len(GAP) * (len(self.widths) - 1)
        if last < NARROW:
            yield from self._below_each_other(width)
            return
        widths = (*self.widths[:-1], min(last, self.widths[-1]))
        columns_of_lines = [
            [line for text in cell for line in text.lines(size)]
            for cell, size in zip(self.cells, widths, strict=True)
        ]
        for number in range(max(map(len, columns_of_lines))):
            row: list[Span] = []
            for lines, size in zip(columns_of_lines, widths, strict=True):
                line = lines[number] if number < len(lines) else ()
                used = sum(columns(span.text) for span in line)
                row += [*line, Span(" " * (size - used) + GAP)]
            yield tuple(row)

    def _below_each_other(self, width: int) -> Iterator[Line]:
        indent = self.cells[0][0].indent
        for number, cell in enumerate(self.cells):
            if number and self.heads:
                yield (Span(f"  {self.heads[number]}", "dim"),)
            for text in cell:
                further = dataclasses.replace(text, indent=indent + 2 * bool(number))
                yield from further.lines(width)


Block = Text | Code | Columns


def fitted(blocks: Iterable[Block], width: int) -> Iterator[Line]:
    """Yield the lines of `blocks`, none of which has more than `width` columns."""
    for block in blocks:
        yield from block.lines(width)


def columns(text: str) -> int:
    """Return the width of `text` on a terminal, in columns."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(character) for character in text)


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _head(text: str, room: int) -> int:
    """Return how many characters of `text` fit, at least one."""
    used = 0
    for number, character in enumerate(text):
        used += _columns_of(character)
        if used > room:
            return max(number, 1)
    return len(text)


def _words(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield the words of `spans`; the style may change within a word."""
    word: list[Span] = []
    for text, style in spans:
        first, *others = text.split(" ")
        if first:
            word.append(Span(first, style))
        for other in others:
            if word:
                yield word
            word = [Span(other, style)] if other else []
    if word:
        yield word


def _parts(word: list[Span], room: int, left: int) -> Iterator[list[Span]]:
    """Yield `word` as it fits: whole, without its beginning, or in parts.

    A whole line has `room` columns; `left` of them are free in the current one.
    """
    text = "".join(span.text for span in word)
    if columns(text) <= max(room, left):
        yield word
        return
    if "://" not in text and not _SEPARATORS.isdisjoint(text):
        yield [Span(shortened(text, room), word[-1].style)]
        return
    for span in word:
        rest = span.text
        while rest:
            size = _head(rest, room)
            yield [Span(rest[:size], span.style)]
            rest = rest[size:]


def shortened(path: str, room: int) -> str:
    """Return `path` without its beginning, so that it fits: (…/app/main.py:12."""
    opening = path[: len(path) - len(path.lstrip(_OPENING))]
    tail = path[len(opening) :]
    tail = tail[::-1][: _head(tail[::-1], room - len(opening) - len(CUT))][::-1]
    cut = min((tail.index(one) for one in _SEPARATORS if one in tail), default=0)
    if cut <= len(tail) // 2:  # else too little of it would remain
        tail = tail[cut:]
    return f"{opening}{CUT}{tail}"


def _merged(line: Iterable[Span]) -> Line:
    """Return `line` with neighbours of one style made one."""
    return tuple(
        Span("".join(span.text for span in same), style)
        for style, same in itertools.groupby(line, lambda span: span.style)
    )


def _gutter(digits: int) -> int:
    return digits + len(">  | ") if digits else 0


def _margin(row: Row, digits: int, *, is_first: bool) -> Iterator[Span]:
    if not digits:
        return
    number = "" if row.number is None or not is_first else str(row.number)
    sign = ">" if row.is_site and is_first else " "
    yield Span(f"{sign} ", "bold red")
    yield Span(f"{number:>{digits}} | ", "dim")


def _broken(text: str, room: int) -> Iterator[str]:
    """Yield a line of source as it fits, broken at spaces, commas and brackets if possible."""
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    start = ""
    while columns(start + text) > room:
        size = _head(text, max(room - len(start), 1))
        first = len(text) - len(text.lstrip()) + 1
        breaks = (
            at for at in range(size, first - 1, -1) if text[at] == " " or text[at - 1] in _ENDS
        )
        cut = next(breaks, size)
        yield start + text[:cut]
        text, start = text[cut:].lstrip(), indent if len(indent) < room // 2 else ""
    yield start + text
