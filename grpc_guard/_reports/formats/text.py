"""The report as text: each finding as it is printed while a program runs, then the summary."""

from __future__ import annotations

from ..._findings.wording import report as full_report
from ..report import Report
from ..summary import summary

name = "text"
suffixes = (".txt",)


def render(report: Report) -> str:
    """Return the full reports of the findings, one after the other, and the summary."""
    reports = [f"{full_report(finding)}\n\n" for finding in report.findings]
    totals = summary(
        report.findings,
        streams=report.streams,
        operations=report.operations,
        unguarded=report.unguarded,
        cut_off=report.cut_off,
        not_kept=sum(report.not_kept.values()),
    )
    return "".join(reports) + "\n".join([*totals, *report.notes, ""])
