"""Findings on pytest's terminal: fitted to its width, and in colours by pytest's own writer.

If the output is not a terminal, everything is as in a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from .._findings.records import Finding
from .._findings.wording import report
from .._reports.blocks import EMPTY, of_finding, of_summary
from .._reports.layout import Block, Line, Span, Text, fitted
from .._reports.looks import NARROWEST, WIDEST, Look, text_of

WIDTH = "grpc_guard_width"  # sent by the controller of pytest-xdist to its workers
_MARKUP = {"bold": "bold", "dim": "light", "red": "red", "yellow": "yellow", "cyan": "cyan"}
_BLOCKS: pytest.StashKey[list[Block]] = pytest.StashKey()  # the reports of a failed test


def width_of(config: pytest.Config) -> int | None:
    """Return the width of the terminal; None if the output is not one."""
    if hasattr(config, "workerinput"):
        told: int | None = config.workerinput.get(WIDTH)
        return told
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # -p no:terminal
        return None
    writer = config.get_terminal_writer()
    if not (reporter.isatty or writer.hasmarkup):
        return None
    return min(max(writer.fullwidth, NARROWEST), WIDEST)


def reports_of(findings: Iterable[Finding], config: pytest.Config) -> str:
    """Return the reports of `findings` as a text for the report of a test."""
    width = width_of(config)
    if width is None:
        return "\n\n".join(map(report, findings))
    look = Look(width, has_colours=False)
    return "\n".join(text_of(of_finding(finding), look) for finding in findings)


def fail(item: pytest.Item, title: str, findings: Sequence[Finding]) -> None:
    """Fail the test for `findings`."""
    if width_of(item.config) is not None:
        blocks: list[Block] = [Text((Span(title, "bold red"),))]
        for finding in findings:
            blocks += [*of_finding(finding), EMPTY]
        item.stash[_BLOCKS] = blocks
    pytest.fail(f"{title}\n{reports_of(findings, item.config)}", pytrace=False)


def colour(item: pytest.Item, made: pytest.TestReport) -> None:
    """Show the report of a test that fail() has failed in colours."""
    blocks = item.stash.get(_BLOCKS, None)
    if blocks is not None and made.longrepr is not None:
        del item.stash[_BLOCKS]
        shown: Any = _InColours(made.longrepr, blocks)
        made.longrepr = shown


class _InColours:
    """The report of a failure: in colours on a terminal, elsewhere as pytest made it."""

    def __init__(self, plain: object, blocks: Sequence[Block]) -> None:
        self._plain = plain
        self._blocks = blocks

    def __str__(self) -> str:
        return str(self._plain)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # a copy that is being made has no attributes yet
            raise AttributeError(name)
        return getattr(self._plain, name)

    def toterminal(self, writer: Any) -> None:
        write(self._blocks, writer)


def write_summary(lines: Iterable[str], writer: Any, config: pytest.Config) -> None:
    """Write the `lines` of the summary, as they fit."""
    if width_of(config) is None:
        for line in lines:
            writer.line(line)
    else:
        write(of_summary(lines), writer)


def write(blocks: Iterable[Block], writer: Any) -> None:
    """Write `blocks` by pytest's `writer`."""
    for line in fitted(blocks, min(max(writer.fullwidth, NARROWEST), WIDEST)):
        _write(line, writer)


def _write(line: Line, writer: Any) -> None:
    for text, style in line:
        names = (_MARKUP[name] for name in style.split() if name in _MARKUP)
        writer.write(text, **dict.fromkeys(names, True))
    writer.line()
