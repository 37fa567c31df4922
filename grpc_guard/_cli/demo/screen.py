"""The demo on a terminal: a table as wide as there is room, and meanwhile what is being played."""

from __future__ import annotations

from typing import TextIO

from ..._reports.layout import GAP, NARROW, Block, Columns, Span, Text
from ..._reports.looks import Look, encodable, is_terminal, look_of
from ..console import show

_HEADS = ("SCENARIO", "WITHOUT THE GUARD", "WITH THE GUARD")
_FIRST, _MOST = 26, 50  # columns of the table's first column, and at most of each other one
_PLAIN = Look(width=100, has_colours=False)  # where no terminal says how wide it is
_BACK = "\r\x1b[K"  # to the beginning of the line, which is empty then


class Screen:
    """Writes to `stream`: fitted to a terminal, and for a file in 100 columns."""

    def __init__(self, stream: TextIO, color: str | None = None) -> None:
        self._stream = stream
        self._look = look_of(stream, color) or _PLAIN
        self._is_terminal = is_terminal(stream)
        self._is_playing = False
        other = min((self._look.width - _FIRST - 2 * len(GAP)) // 2, _MOST)
        self._widths = (_FIRST, other, other)
        self._is_narrow = other < NARROW

    def show(self, *blocks: Block) -> None:
        """Write `blocks`, below what is there."""
        self.stop_playing()
        show(blocks, self._stream, self._look)

    def line(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """Write one paragraph in one style; without a text, an empty line."""
        self.show(Text((Span(text, style),), indent, hang=0) if text else Text())

    def heads(self) -> None:
        """Write what stands above the columns, if they stand side by side."""
        if self._is_narrow:
            self.show(self._rule())
        else:
            self.row(*((Text((Span(head, "bold"),)),) for head in _HEADS))

    def row(self, *cells: tuple[Text, ...]) -> None:
        """Write one row of the table, and what ends it."""
        self.show(Columns(cells, self._widths, _HEADS), self._rule())

    def _rule(self) -> Block:
        widths = (self._look.width,) if self._is_narrow else self._widths
        return Columns(tuple((Text((Span("─" * one, "dim"),)),) for one in widths), widths)

    def playing(self, text: str) -> None:
        """Say what is going on, on a terminal, until something else is written."""
        if self._is_terminal:
            self._is_playing = True
            text = encodable(f"… {text}"[: self._look.width - 1], self._stream.encoding)
            self._stream.write(f"{_BACK}{text}")
            self._stream.flush()

    def stop_playing(self) -> None:
        if self._is_playing:
            self._is_playing = False
            self._stream.write(_BACK)
