"""Writing tables into pages of Markdown, between markers, around text that people wrote.

A marker is a comment: ``<!-- benchmarks: NAME -->`` up to ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_BLOCK = re.compile(r"(<!-- benchmarks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(pages: Sequence[Path], blocks: Mapping[str, str]) -> None:
    """Replace the named blocks wherever `pages` have them; other blocks and text stay.

    Raises ValueError, before anything is written, if no page has a place for a block.
    """
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    places = {found[2] for text in texts.values() for found in _BLOCK.finditer(text)}
    missing = blocks.keys() - places
    if missing:
        names = ", ".join(map(str, pages))
        raise ValueError(f"{names}: no markers for {', '.join(sorted(missing))}")

    def replaced(found: re.Match[str]) -> str:
        block = blocks.get(found[2])
        return found[0] if block is None else f"{found[1]}\n{block.strip()}\n\n{found[3]}"

    for page, text in texts.items():
        page.write_text(_BLOCK.sub(replaced, text), encoding="utf-8")
