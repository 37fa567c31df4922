"""Draw the output of a command on a terminal with colours, for the README and the first pages.

Run ``python docs/make_svg.py`` after a change to an example or to a report; it needs rich.
"""

from __future__ import annotations

import importlib.util
import io
import re
from html import unescape
from pathlib import Path
from types import ModuleType

TOP = Path(__file__).parent.parent
DRAWN = {  # the picture, and the command that it shows
    "docs/_static/report.svg": "grpc-guard run first.py",
}
WIDTH = 100  # columns

_ESCAPES = re.compile(r"\x1b\[[\d;]*[A-Za-z]|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)")
_PART = re.compile(r"<text .*?>(.*?)</text>", re.DOTALL)


def _listings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_listings", TOP / "docs/make_listings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


listings = _listings()


def shown(command: str) -> str:
    """Return the output of `command` on a terminal with colours."""
    text: str = listings.run(command, FORCE_COLOR="1", COLUMNS=str(WIDTH))
    return text


def letters(text: str) -> str:
    """Return `text` without colours, spaces, and what differs from run to run."""
    line = " ".join(_ESCAPES.sub("", text).split())
    return "".join(listings.same(line).split())


def letters_in(picture: str) -> str:
    """Return the letters that an SVG shows, as letters() does: a space may be a gap in it."""
    _, _, matrix = picture.rpartition('-matrix">')
    return letters(unescape("".join(_PART.findall(matrix))))


def draw(text: str, title: str) -> str:
    """Return an SVG of a terminal that shows `text`."""
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True)
    drawn = Text.from_ansi(text)
    drawn.highlight_regex(r"(?m)^\$ .*", "bold green")  # the prompts
    console.print(drawn)
    # A picture in a page cannot load fonts.
    template = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(title=title, code_format=template.replace("Fira Code, ", ""))
    return "\n".join(map(str.rstrip, svg.splitlines())) + "\n"


def main() -> None:
    """Draw each picture whose command shows a different output now."""
    for name, command in DRAWN.items():
        picture = TOP / name
        text = shown(command)
        if not picture.exists() or letters_in(picture.read_text(encoding="utf-8")) != letters(text):
            picture.write_text(draw(text, title=command), encoding="utf-8", newline="\n")
            print(name)


if __name__ == "__main__":
    main()
