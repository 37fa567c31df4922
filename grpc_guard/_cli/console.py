"""Showing blocks on a stream, by rich if it is installed; and the option --color."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

from .._catalogue.settings import COLOR, environment, resolve
from .._reports.layout import Block, Line, fitted
from .._reports.looks import Look, encodable, parse_color, text_of


def add_color(parser: argparse.ArgumentParser) -> None:
    """Add --color to `parser`; a bad value in the environment is a usage error."""
    parser.add_argument(
        "--color",
        metavar="WHEN",
        type=_color,
        help="auto, always or never (default: $GRPC_GUARD_COLOR, or auto: on a terminal, unless "
        "NO_COLOR is set, and everywhere if FORCE_COLOR is)",
    )
    try:
        resolve(environment(COLOR), parse=parse_color, default="auto")
    except ValueError as error:
        parser.error(str(error))


def _color(value: str) -> str:
    try:
        return parse_color(value, source="--color")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--color: ")) from None


class OutputError(Exception):
    """The standard output is closed, or takes no more; the message says why, or nothing.

    Nothing where its reader has gone, who wants no more.
    """


@contextlib.contextmanager
def written(stream: TextIO | None) -> Iterator[TextIO]:
    """Have what the block writes to `stream` on its way at its end; raises OutputError."""
    if stream is None:
        raise OutputError("the standard output is closed")
    try:
        yield stream
        stream.flush()
    except BrokenPipeError:
        raise OutputError from None
    except OSError as error:
        raise OutputError(f"the standard output: {error.strerror or error}") from None


def complain(text: str) -> None:
    """Write `text` to the standard error. Where it cannot be written it is lost, and nothing else is."""
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        sys.stderr = None  # at the end, what is left in it would fail once more


def write_lines(lines: Iterable[str], first: str = "") -> None:
    """Write `lines` to the standard output; characters that its encoding lacks are replaced.

    The text that comes `first` is written as it is. Raises OutputError.
    """
    with written(sys.stdout) as stream:
        text = "".join(f"{line}\n" for line in lines)
        stream.write(f"{first}{encodable(text, stream.encoding)}")


def show(blocks: Iterable[Block], stream: TextIO, look: Look) -> None:
    """Write `blocks` to `stream`: by rich, or without colours or rich, as plain text of that shape.

    Raises OutputError.
    """
    with written(stream):
        write = _by_rich(stream) if look.has_colours else None
        if write is None:
            stream.write(text_of(blocks, look, stream.encoding))
        else:
            for line in fitted(blocks, look.width):
                write(line)


def _by_rich(stream: TextIO) -> Callable[[Line], None] | None:
    """Return a function that writes a line by rich; None if rich is not installed."""
    try:
        from rich.console import Console
        from rich.syntax import Syntax
        from rich.text import Text
    except ImportError:
        return None
    # By the colours that the terminal's user has chosen: the 16 that have names.
    console: Any = Console(
        file=stream, force_terminal=True, no_color=False, color_system="standard"
    )
    python = Syntax("", "python", theme="ansi_dark", background_color="default")

    def write(line: Line) -> None:
        text = Text(end="\n")
        for part, style in line:
            part = encodable(part, stream.encoding)
            if style.startswith("code"):
                code = python.highlight(part)
                code.rstrip()
                text.append_text(code)
            else:
                text.append(part, style or None)
        text.rstrip()
        console.print(text, soft_wrap=True)

    return write
