"""Where reports go: the formats by name, and files that are known to be writable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .._findings.records import Finding
from . import sarif, text
from .document import Document, document, merged
from .paths import relocated

FORMATS = ("json", "sarif", "text")


def format_for(path: Path, chosen: str | None) -> str:
    """Return the format of a report: `chosen`, or what the file's suffix says, or json."""
    if chosen is not None:
        return chosen
    return {".sarif": "sarif", ".txt": "text"}.get(path.suffix, "json")


def check_writable(path: Path) -> None:
    """Raise OSError now if a report cannot be written to `path` later."""
    existed = path.exists()
    with path.open("a", encoding="utf-8"):
        pass
    if not existed:
        path.unlink()


def write(
    path: Path,
    form: str,
    findings: Iterable[Finding],
    *,
    root: Path,
    mode: str,
    pid: int,
    streams: int,
    operations: int,
    excuse: Callable[[Finding], str | None] = lambda finding: None,
    notes: Iterable[str] = (),
    in_progress: Iterable[Document] = (),
) -> None:
    """Write the report of `findings` to `path` in format `form`, files relative to `root`.

    ``excuse(finding)`` says why one does not count, and `notes` are more lines of the
    summary, in the formats that have a place for them, as `in_progress` has in JSON alone.
    Raises OSError.
    """
    found = merged(relocated(finding, root) for finding in findings)
    totals: dict[str, Any] = {"streams": streams, "operations": operations}
    if form == "text":
        content = text.text(found) + "\n".join([*text.summary(found, **totals), *notes, ""])
    else:
        data = (
            sarif.sarif(found, root=root, excuse=excuse)
            if form == "sarif"
            else document(found, mode=mode, pid=pid, in_progress=in_progress, **totals)
        )
        content = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    # A file name may hold bytes that are no text: the escape of Python is the one of JSON.
    path.write_text(content, encoding="utf-8", errors="backslashreplace")
