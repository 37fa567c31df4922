"""The wording of every report, made in this one place, from a finding and nothing else.

The evidence, in the file of its rule, words what was seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .._catalogue.modes import Mode
from .._catalogue.nouns import Subject
from .._catalogue.rule import Evidence
from .._catalogue.words import count, duration, party
from .records import NOT_FOUND, Finding, Frame, Owner

OUTCOME = {  # what happened to the caller
    Mode.RAISE: "refused",
    Mode.WARN: "let through",
    Mode.SERIALIZE: "made to wait",
}


RELATION = {  # how the lines below were found
    "inside": "",
    "awaited-by": ", awaited by",
    "asked-at": ", asked for by",
    "started-at": ", started by",
}


def first_line(
    evidence: Evidence, subject: Subject, caller: Owner, mode: Mode | None = None
) -> str:
    """Return the report's first line: complete by itself, and made to be grepped.

    `mode` decides what happens to the caller; None for a warning, which refuses nothing.
    """
    outcome = "" if mode is None else f" {OUTCOME[mode]}"
    asked = f"{caller.operation} by {party(caller)}"
    return f"{evidence.rule}: {asked} on {subject}{outcome}: {evidence}"


def long_wait(subject: Subject, waiter: Owner, owner: Owner | None) -> str:
    """Return the line on an operation that has waited long for its turn; `owner` is inside."""
    text = (
        f"{party(waiter)} has waited {duration(waiter.held_seconds)} for its turn to "
        f"{waiter.operation} on {subject} ({site(waiter.site)}): "
    )
    if owner is None:
        return f"{text}nobody is inside at this moment"
    held = duration(owner.held_seconds)
    return f"{text}{party(owner)} has been in {owner.operation} for {held} ({site(owner.site)})"


def held_by_probe(delay: float, window: float, run: int) -> str:
    """Return what a finding says about the probe that caused it."""
    return (
        f", held back there by the probe ({duration(delay)}; near miss within "
        f"{duration(window)} first seen in run {run})"
    )


def probing(seed: int | None, run: int) -> str:
    """Return the line before a run of the probe: the seed repeats its choices."""
    return f"probing with seed {seed}, run {run}"


def probed(near_misses: int, delays: int, synchronised: int, spent: float) -> str:
    """Return the line of the summary on what the probe did."""
    return (
        f"probe: {count(near_misses, 'near miss', 'near misses')}, {count(delays, 'delay')}, "
        f"{count(synchronised, 'synchronised pair')}, {spent:.2f} s spent"
    )


def in_one_line(finding: Finding) -> str:
    """Return the first line of the report, and where the two parties were."""
    return f"{finding.message} ({sites(finding)})"


def sites(finding: Finding) -> str:
    """Return where the two parties of `finding` were: caller, and owner if there was one."""
    caller = site(finding.caller.site)
    return caller if finding.owner is None else f"{caller} against {site(finding.owner.site)}"


def site(frame: Frame | None) -> str:
    return "(no line of the program)" if frame is None else f"{frame.file}:{frame.line}"


def summed_up(findings: Sequence[Finding]) -> str:
    """Return the line at the end of a process that had `findings`."""
    rules: dict[str, int] = {}
    for finding in findings:
        rules[finding.rule.name] = rules.get(finding.rule.name, 0) + finding.count
    parts = ", ".join(f"{rule} {times}x" for rule, times in sorted(rules.items()))
    return f"grpc_guard: {count(len(findings), 'finding')} in this process: {parts}"


class Start(NamedTuple):
    """The line at which a party was started, which is not on its stack."""

    frame: Frame

    def at(self, file: str) -> str:
        """Return the text, with `file` as the name of the frame's file."""
        return f"started at {file}:{self.frame.line}"


class Section(NamedTuple):
    """A part of a report: its label, its text, and the lines of the program below it.

    A text among the lines stands for several of them, or for none.
    """

    label: str
    text: str
    lines: tuple[Frame | Start | str, ...] = ()


def sections(finding: Finding) -> Iterator[Section]:
    """Yield what a report of `finding` has below its first line."""
    if finding.owner is not None:
        seconds = duration(finding.owner.held_seconds)
        when = f", {seconds} ago" if finding.rule.past else f" for {seconds}"
        yield _of_party("owner", finding.owner, when)
    yield _of_party("caller", finding.caller, "")
    yield Section("without the guard", finding.rule.unguarded(finding.side, finding.api))
    yield Section("how to fix it", finding.remedy)


def report(finding: Finding) -> str:
    """Return the whole report of `finding`, first line first, for logs and files: no line is broken."""
    return "\n".join(_lines(finding))


def _lines(finding: Finding) -> Iterator[str]:
    yield finding.message
    for section in sections(finding):
        label = f"{section.label}: "
        yield f"  {label:8}{section.text}" if section.lines else f"  {label}{section.text}"
        for line in section.lines:
            if not isinstance(line, Frame):
                yield f"    {line if isinstance(line, str) else line.at(line.frame.file)}"
                continue
            yield f'    File "{line.file}", line {line.line}, in {line.function}'
            if line.code:
                yield f"      {line.code}"
    yield f"  rule: {finding.rule} ({finding.rule.summary}); source: {finding.rule.source}"


def _of_party(label: str, owner: Owner, when: str) -> Section:
    text = f"{party(owner)} in {owner.operation}{when}{RELATION[owner.relation]}"
    lines: list[Frame | Start | str] = [*folded(owner.stack)]
    lines = lines or [_without_lines(owner)]
    if owner.started_at is not None and owner.started_at not in owner.stack:
        lines.append(Start(owner.started_at))
    return Section(label, text, tuple(lines))


def _without_lines(owner: Owner) -> str:
    """Return what stands for the lines of a party that shows none."""
    if owner.kind == "task" and owner.name != NOT_FOUND and owner.started_at is None:
        return "(no line of the program on its stack; grpc-guard run notes where tasks are made)"
    return "(no line of the program on its stack)"


def folded(stack: Sequence[Frame]) -> Iterator[Frame | str]:
    """Yield the frames of `stack`, and for several of libraries in a row how many they are."""
    from .whose import LIBRARY, package_of, whose_file  # here: without a report grpc is not needed

    for kind, run in itertools.groupby(stack, lambda frame: whose_file(frame.file)):
        frames = list(run)
        if kind is LIBRARY and len(frames) > 1 and frames[-1] is not stack[-1]:
            packages = dict.fromkeys(package_of(frame.file) for frame in frames)
            yield f"… {len(frames)} frames of {', '.join(packages)}"
        else:
            yield from frames
