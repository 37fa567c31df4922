"""The terminal summary of a test session, and the annotations for GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator

from .._catalogue import words
from .._findings.records import Finding
from .._reports.paths import relative
from .session import Session


def summary_lines(session: Session) -> Iterator[str]:
    """Yield the lines of the summary; none if the guard was never on."""
    if not session.was_on:
        return
    run = session.run
    yield from run.summary()
    unattributed = session.unattributed()
    if unattributed:
        yield f"outside of any test: {words.count(len(unattributed), 'finding')}"
    yield from session.notes()
    yield from run.notes()


def workflow_commands(session: Session) -> Iterator[str]:
    """Yield workflow commands that put each finding beside its line in a pull request."""
    for finding in session.run.new_findings:
        kind = "notice" if finding.is_advice else finding.severity
        yield f"::{kind} {_place(finding, session)}::{_escape(finding.message)}"


def _place(finding: Finding, session: Session) -> str:
    site = finding.caller.site or (finding.owner.site if finding.owner is not None else None)
    title = f"title=grpc_guard {finding.rule}"
    if site is None:
        return title
    file = relative(site.file, session.settings.adoption.root)
    return f"file={_escape(file, ',:')},line={site.line},{title}"


def _escape(value: str, more: str = "") -> str:
    """Escape what would end a workflow command, or the value of its property."""
    for character in "%\r\n" + more:
        value = value.replace(character, f"%{ord(character):02X}")
    return value
