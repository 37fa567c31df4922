"""How a stream shows text: width and colours; and the printer that needs no library."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

from .._catalogue import words
from .._catalogue.settings import COLOR, environment, resolve
from .layout import CUT, Block, Line, fitted

COLORS = ("auto", "always", "never")
NARROWEST, WIDEST = 40, 200  # columns
_WIDTH = 80  # if the width is unknown

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_PLAIN = str.maketrans({"✗": "x", "✓": "+", "─": "-", "·": "-", CUT: "~"})


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """How a stream shows text: `width` columns, in colours or not."""

    width: int
    has_colours: bool


def parse_color(value: str, *, source: str) -> str:
    """Return the setting of colours: ``auto``, ``always`` or ``never``.

    Raises ValueError that names the source, the value and the choices.
    """
    if value not in COLORS:
        meant = words.did_you_mean(value, COLORS)
        raise ValueError(f"{source}: {value!r} is not a choice; use auto, always or never{meant}")
    return value


def look_of(
    stream: Any, color: str | None = None, environ: Mapping[str, str] = os.environ
) -> Look | None:
    """Return how `stream` shows text to a person; None if it is a pipe or a file.

    A person reads a terminal, or a stream for which colours are requested: by `color`, by the
    environment variable of the guard, or by ``FORCE_COLOR``. ``NO_COLOR`` and a dumb terminal
    have no colours.
    """
    if color is None:
        color = resolve(environment(COLOR), parse=parse_color, default="auto").value
    are_refused = color == "never" or (color == "auto" and bool(environ.get("NO_COLOR")))
    are_forced = not are_refused and (color == "always" or bool(environ.get("FORCE_COLOR")))
    if not are_forced and not is_terminal(stream):
        return None
    has_colours = are_forced or not (are_refused or environ.get("TERM") == "dumb")
    return Look(width_of(stream, environ), has_colours)


def is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # the program may have put anything there, or closed it
        return False


def width_of(stream: Any, environ: Mapping[str, str] = os.environ) -> int:
    """Return the width of `stream` in columns: from ``COLUMNS``, or its terminal, else 80."""
    width = 0
    with contextlib.suppress(KeyError, ValueError):
        width = int(environ["COLUMNS"])
    if width <= 0:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            width = os.get_terminal_size(stream.fileno()).columns
    return min(max(width or _WIDTH, NARROWEST), WIDEST)


def text_of(blocks: Iterable[Block], look: Look, encoding: str | None = None) -> str:
    """Return `blocks` as text for `look`; characters not in `encoding` become plain ones."""
    lines = (_painted(line, has_colours=look.has_colours) for line in fitted(blocks, look.width))
    return encodable("".join(f"{line}\n" for line in lines), encoding)


def _painted(line: Line, *, has_colours: bool) -> str:
    if not has_colours:
        return "".join(span.text for span in line).rstrip()
    return "".join(painted(span.text, span.style) for span in line).rstrip()


def painted(text: str, style: str) -> str:
    """Return `text` in the colours of `style`, by codes that every terminal knows."""
    codes = ";".join(_CODES[name] for name in style.split() if name in _CODES)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and text.strip() else text


def encodable(text: str, encoding: str | None) -> str:
    """Return `text` as a stream of this `encoding` can write it."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    return text
