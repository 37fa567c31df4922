"""Reports name files relative to the project, as readers on other machines know them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from .._findings.records import Finding, Frame, Owner


def relative(file: str, root: Path) -> str:
    """Return `file` relative to `root` if it is below that, with forward slashes."""
    try:
        file = str(Path(file).relative_to(root))
    except ValueError:
        pass
    return file.replace(os.sep, "/")


def sites(finding: Finding) -> list[Frame]:
    """Return the lines of the program at which the parties to `finding` were, if known."""
    owners = (finding.caller, finding.owner)
    return [owner.site for owner in owners if owner is not None and owner.site is not None]


def names(frame: Frame, root: Path) -> tuple[str, str]:
    """Return the names of a line in patterns and entries: its file, and file:function."""
    file = relative(frame.file, root)
    return file, f"{file}:{frame.function}"


def relocated(finding: Finding, root: Path) -> Finding:
    """Return `finding` with the files of its stacks relative to `root`."""
    return dataclasses.replace(
        finding,
        caller=_relocated(finding.caller, root),
        owner=None if finding.owner is None else _relocated(finding.owner, root),
    )


def _relocated(owner: Owner, root: Path) -> Owner:
    stack = tuple(
        dataclasses.replace(frame, file=relative(frame.file, root)) for frame in owner.stack
    )
    started_at = owner.started_at
    if started_at is not None:
        started_at = dataclasses.replace(started_at, file=relative(started_at.file, root))
    return dataclasses.replace(owner, stack=stack, started_at=started_at)
