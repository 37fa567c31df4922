"""What is shown to a person: a finding, a summary or a page, as blocks that fit any width.

The words are those of the log and of the files, from _findings/wording.py. This module decides
where each of them stands, and with which lines of source.
"""

from __future__ import annotations

import linecache
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from .._catalogue.rule import ADVICE
from .._catalogue.words import printable
from .._findings import wording
from .._findings.records import Finding, Frame
from .layout import Block, Code, Row, Span, Text
from .paths import relative

EMPTY = Text()
COLOURS = {"error": "red", "warning": "yellow", ADVICE: "cyan"}
_AROUND = 1  # lines of source above and below *the* line


def of_finding(finding: Finding) -> Iterator[Block]:
    """Yield the report of `finding`: what happened, both parties with their lines, what to do."""
    rule, _, rest = finding.message.partition(" ")
    colour = COLOURS[finding.severity]
    yield Text((Span(rule, f"bold {colour}"), Span(f" {rest}", "bold")))
    shown: set[Frame] = set()
    for section in wording.sections(finding):
        yield EMPTY
        yield _labelled(section.label, section.text)
        yield from _lines(section.lines, shown)
    yield EMPTY
    yield _labelled("rule", f"{finding.rule} ({finding.rule.summary})")
    yield Text(
        (Span("more:", "bold"), Span(f" grpc-guard explain {finding.rule}", "cyan")), indent=2
    )


def _labelled(label: str, text: str) -> Text:
    return Text((Span(f"{label}:", "bold"), Span(f" {text}")), indent=2)


def _lines(lines: tuple[Frame | wording.Start | str, ...], shown: set[Frame]) -> Iterator[Block]:
    site = max((at for at, line in enumerate(lines) if isinstance(line, Frame)), default=None)
    for at, line in enumerate(lines):
        if not isinstance(line, Frame):
            text = line if isinstance(line, str) else line.at(_file(line.frame))
            yield Text((Span(text, "dim"),), indent=4)
            continue
        where = f"{_file(line)}:{line.line}"
        again = " (as above)" if line in shown else ""
        yield Text((Span(where, "cyan"), Span(f" in {line.function}{again}")), indent=4)
        if line not in shown:
            rows = tuple(_rows(line, _AROUND if at == site else 0))
            yield from (Code(rows, indent=4),) if rows else ()
            shown.add(line)


def _file(frame: Frame) -> str:
    try:
        return printable(relative(frame.file, Path.cwd()))
    except OSError:  # the working directory has gone
        return printable(frame.file)


def _rows(frame: Frame, around: int) -> Iterator[Row]:
    """Yield the line of `frame` and its neighbours, if the source has not changed."""
    source = linecache.getlines(frame.file)
    if not 0 < frame.line <= len(source) or source[frame.line - 1].strip() != frame.code:
        if frame.code:
            yield Row(frame.line, printable(frame.code), is_site=True)
        return
    first = max(frame.line - around, 1)
    chosen = source[first - 1 : frame.line + around]
    texts = textwrap.dedent("".join(line.expandtabs(4) for line in chosen)).splitlines()
    for number, text in enumerate(texts, first):
        if text.strip() or number == frame.line:
            yield Row(number, printable(text.rstrip()), is_site=number == frame.line)


def of_summary(lines: Iterable[str]) -> Iterator[Block]:
    """Yield the `lines` at the end of a run, with their indentation."""
    for line in lines:
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        yield Text((Span(text, _style_of(text, indent)),), indent, hang=4)


def _style_of(line: str, indent: int) -> str:
    if not indent:
        return "bold"
    severity = ADVICE if line.startswith("advice: ") else line.rpartition(" (")[2].rstrip(")")
    return COLOURS.get(severity, "")


def of_page(markdown: str) -> Iterator[Block]:
    """Yield a page of the docs: its headings, paragraphs, lists, quotations and programs."""
    lines = markdown.splitlines()
    while lines:
        line = lines.pop(0)
        if line.startswith("```"):
            end = lines.index("```")
            yield Code(tuple(Row(None, text) for text in lines[:end]), indent=4)
            del lines[: end + 1]
        elif line.startswith("    "):
            yield Code((Row(None, line[4:]),), indent=4)
        elif line.startswith("#"):
            yield Text((Span(line.lstrip("# "), "bold cyan"),))
        elif not line:
            yield EMPTY
        else:
            start = line[:2] if line.startswith(("- ", "> ")) else ""
            text = line.removeprefix(start)
            while lines and _goes_on(lines[0], start):
                text += f" {lines.pop(0).removeprefix(start).strip()}"
            yield Text((Span(start, "dim"), *_inline(text)), hang=len(start))


def _goes_on(line: str, start: str) -> bool:
    """Tell whether `line` belongs to the paragraph that began with `start`."""
    if start == "- ":
        return line.startswith("  ")
    return line.startswith(start) and line != "" and not line.startswith(("#", "- ", "```", "    "))


def _inline(text: str) -> Iterator[Span]:
    """Yield `text` with what stands in backquotes in the style of code."""
    for number, part in enumerate(re.split(r"`([^`]+)`", text)):
        yield Span(part, "cyan" if number % 2 else "")
