"""Where reports go: the formats by name, and files that are known to be writable."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from .formats import json, sarif, text
from .report import Report


class ReportFormat(Protocol):
    """A format of a report: its name on the command line, the suffixes of its files.

    A suffix belongs to one format only.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def render(self, report: Report) -> str:
        """Return the whole content of the file, to its last line feed.

        Findings hold no payloads, metadata or credentials; nothing else may bring them in.
        """
        ...


_ALL: tuple[ReportFormat, ...] = (json, sarif, text)
FORMATS = {form.name: form for form in _ALL}  # the first is that of a file without a known suffix
SUFFIXES = {suffix: form for form in _ALL for suffix in form.suffixes}


def format_for(path: Path, chosen: str | None) -> ReportFormat:
    """Return the format of a report: `chosen`, or the one for the suffix of the file, or JSON."""
    return SUFFIXES.get(path.suffix, json) if chosen is None else FORMATS[chosen]


def check_writable(path: Path) -> None:
    """Raise OSError now if a report cannot be written to `path` later.

    A link stays: a report is written where it points.
    """
    existed = path.exists()
    with path.open("a", encoding="utf-8"):
        pass
    if not existed:
        path.resolve().unlink()


def write(report: Report, path: Path, form: ReportFormat) -> None:
    """Write `report` to `path` in the format `form`. Raises OSError.

    It shows lines of the program, so only the user can read a new file. An existing file keeps its
    mode, and a link is followed. What this process has as its output, as /dev/stdout, keeps what is in it.
    """
    content = form.render(report)
    how = "a" if _is_output(path) else "w"
    # A file name may hold undecodable bytes: Python escapes them as JSON does.
    with open(path, how, encoding="utf-8", errors="backslashreplace", opener=_for_its_user) as file:
        file.write(content)


def _is_output(path: Path) -> bool:
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # either may be missing
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return True
    return False


def _for_its_user(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
