"""Where reports go: the formats by name, and files that are known to be writable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .._findings import Finding
from . import sarif, text
from .document import document

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
    findings: Sequence[Finding],
    *,
    mode: str,
    pid: int,
    streams: int,
    operations: int,
) -> None:
    """Write the report of `findings` to `path` in format `form`."""
    if form == "text":
        content = text.text(findings) + "\n".join(
            [*text.summary(findings, streams=streams, operations=operations), ""]
        )
    else:
        data = (
            sarif.sarif(findings)
            if form == "sarif"
            else document(findings, mode=mode, pid=pid, streams=streams, operations=operations)
        )
        content = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    path.write_text(content, encoding="utf-8")
