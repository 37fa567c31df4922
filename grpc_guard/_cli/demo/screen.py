"""What the demo looks like: columns, colours on a terminal, plain text elsewhere."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Mapping
from typing import TextIO

WIDTHS = (26, 35, 35)  # with the gaps between them, 100 columns
_GAP = "  "
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_PLAIN = str.maketrans({"✗": "x", "✓": "+", "─": "-", "·": "-"})


class Screen:
    """Writes to `stream`, in colour if it is a terminal and NO_COLOR is not set."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str] = os.environ) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._has_colours = self._is_terminal and not is_plain

    def line(self, text: str = "", *style: str) -> None:
        """Write a line; signs that the stream cannot encode become plain ones."""
        text = self._styled(text, style)
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
        print(text, file=self._stream, flush=True)

    def paragraph(self, text: str, *style: str) -> None:
        """Write `text`, broken at spaces where a terminal would break it anywhere."""
        indent = " " * (len(text) - len(text.lstrip()) + 2)
        parts = [text]
        if self._is_terminal:
            parts = textwrap.wrap(
                text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
        for part in parts:
            self.line(part, *style)

    def rule(self) -> None:
        self.line(_GAP.join("─" * width for width in WIDTHS), "dim")

    def row(self, *cells: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        """Write one row of the table; a cell is its paragraphs, each with its style.

        The lines of a paragraph that begins with a sign stand under its first word.
        """
        columns = [
            [
                (line, style)
                for text, style in cell
                for line in textwrap.wrap(
                    text,
                    width,
                    subsequent_indent="  " if text[1] == " " else "",
                    break_on_hyphens=False,
                )
            ]
            for cell, width in zip(cells, WIDTHS, strict=True)
        ]
        for number in range(max(len(lines) for lines in columns)):
            parts = []
            for lines, width in zip(columns, WIDTHS, strict=True):
                line, style = lines[number] if number < len(lines) else ("", ())
                parts.append(self._styled(line, style) + " " * (width - len(line)))
            self.line(_GAP.join(parts).rstrip())

    def _styled(self, text: str, style: tuple[str, ...]) -> str:
        if not (self._has_colours and style and text):
            return text
        return f"\033[{';'.join(_STYLES[name] for name in style)}m{text}\033[0m"
