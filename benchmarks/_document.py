"""Writing tables into a page of Markdown, between markers, around text that people wrote.

A marker is a comment: ``<!-- benchmarks: NAME -->`` up to ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_BLOCK = re.compile(r"(<!-- benchmarks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def update(page: Path, blocks: Mapping[str, str]) -> None:
    """Replace the named blocks of `page`; the others, and all text around, stay.

    Raises ValueError, before anything is written, where the page has no place for a block.
    """
    text = page.read_text(encoding="utf-8")
    missing = blocks.keys() - {found[2] for found in _BLOCK.finditer(text)}
    if missing:
        raise ValueError(f"{page} has no markers for {', '.join(sorted(missing))}")

    def replaced(found: re.Match[str]) -> str:
        block = blocks.get(found[2])
        return found[0] if block is None else f"{found[1]}\n{block.strip()}\n\n{found[3]}"

    page.write_text(_BLOCK.sub(replaced, text), encoding="utf-8")
