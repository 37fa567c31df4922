"""Every format of a report: one suite of sample reports, which a new format joins by being listed."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
from inside import HANDLER_RETURNED, UNCLOSED_CHANNEL, Frame, Report, writing
from support.findings import FINDING, ROOT

from grpc_guard import Finding, Owner


def party(kind: str, name: str, *files: str) -> Owner:
    stack = tuple(Frame(file, 7, "consume", "message = next(call)") for file in files)
    return Owner(kind, name, "next", None, stack)


UNUSUAL = {
    "without an owner": {"owner": None, "rule": HANDLER_RETURNED, "side": "server", "api": "aio"},
    "without a line": {"caller": party("thread", "t"), "owner": party("greenlet", "u")},
    "in no file": {"caller": party("thread", "t", "<string>")},
    "in a file with bytes that are no text": {
        "caller": party("thread", "t", os.fsdecode(b"/project/caf\xe9.py"))
    },
    "with names that need care": {
        "caller": party("thread", 'a "b" <c> & \\ \t\n% é \udce9 ::error::', "a b#%20.py"),
        "rpc": "/ü.Y/Z",
    },
    "of a warning": {"rule": UNCLOSED_CHANNEL, "severity": "warning", "rpc": "localhost:1"},
    "of a test, often": {"test": "tests/test_x.py::test_y[a b]", "count": 1000},
}
SAMPLES: dict[str, list[Finding]] = {
    "nothing": [],
    "usual": [FINDING],
    **{name: [dataclasses.replace(FINDING, **changed)] for name, changed in UNUSUAL.items()},
}
SAMPLES["all"] = [finding for sample in SAMPLES.values() for finding in sample]


def report(findings: list[Finding], excuse: str | None = None) -> Report:
    notes = ("probe: 1 near miss",)
    return Report(findings, ROOT, "raise", 1, 12, 3402, excuse=lambda _: excuse, notes=notes)


every_format = pytest.mark.parametrize("form", writing.FORMATS.values(), ids=lambda form: form.name)


@every_format
@pytest.mark.parametrize("excuse", [None, "known"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_sample(
    sample: str, excuse: str | None, form: writing.ReportFormat, tmp_path: Path
) -> None:
    """It is written, the same each time, ends its last line, and names rule and RPC of each finding."""
    findings = SAMPLES[sample]
    writing.write(report(findings, excuse), tmp_path / "r", form)
    content = (tmp_path / "r").read_text(encoding="utf-8")
    assert content.endswith("\n")
    again = form.render(report(findings, excuse))
    assert again.encode(errors="backslashreplace").decode() == content
    for finding in findings:
        assert finding.rule.name in content
        assert finding.rpc in content


@every_format
def test_files_are_relative_to_the_root(form: writing.ReportFormat) -> None:
    """A file of the project is named relative to the project."""
    content = form.render(report([FINDING]))
    assert re.search(r"\bapp/main\.py\b", content)
    assert str(ROOT / "app").replace(os.sep, "/") not in content


@every_format
def test_equal_findings_of_several_processes(form: writing.ReportFormat) -> None:
    """They are one entry, with their counts added."""
    twice = dataclasses.replace(FINDING, count=2 * FINDING.count)
    assert form.render(report([FINDING, FINDING])) == form.render(report([twice]))


def test_each_name_and_suffix_is_of_one_format() -> None:
    """The choice by name, and by a file's suffix, is never a matter of order."""
    for form in writing.FORMATS.values():
        assert writing.FORMATS[form.name] is form
        assert form.suffixes
        for suffix in form.suffixes:
            assert writing.format_for(Path(f"r{suffix}"), None) is form
    suffixes = [suffix for form in writing.FORMATS.values() for suffix in form.suffixes]
    assert sorted(suffixes) == sorted(writing.SUFFIXES)


def test_each_format_is_in_the_docs() -> None:
    """The page about running a program names each format and the suffixes of its files."""
    page = (Path(__file__).parents[2] / "docs" / "run.md").read_text(encoding="utf-8")
    for form in writing.FORMATS.values():
        assert f"`{form.name}`" in page
        assert [suffix for suffix in form.suffixes if f"`{suffix}`" not in page] == []
