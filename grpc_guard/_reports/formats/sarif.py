"""The report as SARIF 2.1.0, which code-scanning pages show beside the code."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..._catalogue.catalogue import RULES
from ..._catalogue.pages import page
from ..._catalogue.rule import ADVICE, Rule
from ..._catalogue.version import __version__
from ..._catalogue.words import party
from ..._findings.records import Finding, Frame, Owner
from ..._findings.wording import report as full_report
from ..report import Report

name = "sarif"
suffixes = (".sarif",)

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

# Severities that have another name in SARIF.
_LEVELS = {ADVICE: "note"}
_PROBLEMS = {ADVICE: "recommendation"}


def render(report: Report) -> str:
    """Return the SARIF log; a finding that is excused is marked as suppressed."""
    return json.dumps(_log(report), indent=2, ensure_ascii=False) + "\n"


def _log(report: Report) -> dict[str, Any]:
    rules = list(RULES.values())
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "grpc_guard",
                        "semanticVersion": __version__,
                        "rules": [_rule(rule) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {"%SRCROOT%": {"uri": report.root.as_uri() + "/"}},
                "results": [
                    _result(finding, rules, report.excuse(finding)) for finding in report.findings
                ],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.name,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": f"{rule.summary}; {rule.source}"},
        "help": {"text": page(rule), "markdown": page(rule)},
        "defaultConfiguration": {"level": _LEVELS.get(rule.severity, rule.severity)},
        "properties": {
            "tags": ["concurrency", "grpc"],
            "precision": "very-high",
            "problem.severity": _PROBLEMS.get(rule.severity, rule.severity),
        },
    }


def _result(finding: Finding, rules: list[Rule], excuse: str | None) -> dict[str, Any]:
    parties = [("caller", finding.caller)]
    if finding.owner is not None:
        parties.append(("owner", finding.owner))
    located = [(role, owner, owner.site) for role, owner in parties if owner.site is not None]
    return {
        "ruleId": finding.rule.name,
        "ruleIndex": rules.index(finding.rule),
        "level": _LEVELS.get(finding.severity, finding.severity),
        "message": {"text": full_report(finding)},
        "occurrenceCount": finding.count,
        "partialFingerprints": {"grpcGuard/v1": _fingerprint(finding)},
        "locations": [_location(site) for _, _, site in located[:1]],
        "relatedLocations": [
            {
                "id": number,
                **_location(site),
                "message": {"text": f"{role}: {party(owner)} in {owner.operation}"},
            }
            for number, (role, owner, site) in enumerate(located)
        ],
        "stacks": [_stack(role, owner) for role, owner, _ in located],
        "suppressions": [{"kind": "external", "justification": excuse}] if excuse else [],
        "properties": {
            "rpc": finding.rpc,
            "side": finding.side,
            "api": finding.api,
            "time": finding.time,
            "test": finding.test,
        },
    }


def _fingerprint(finding: Finding) -> str:
    """Return a key of the finding that does not change when lines are inserted above it."""
    parts = [finding.rule.name, finding.rpc, finding.side]
    for owner in (finding.caller, finding.owner):
        if owner is not None and owner.site is not None:
            parts += [owner.operation, owner.site.file, owner.site.function]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _stack(role: str, owner: Owner) -> dict[str, Any]:
    frames = [{"location": _location(frame)} for frame in reversed(owner.stack)]
    return {"message": {"text": f"{role}: {party(owner)}"}, "frames": frames}


def _location(frame: Frame) -> dict[str, Any]:
    artifact = {"uri": quote(os.fsencode(frame.file))}
    if os.path.isabs(frame.file):
        artifact["uri"] = Path(frame.file).as_uri()
    elif not frame.file.startswith("<"):  # <string>, <stdin>: code that is in no file
        artifact["uriBaseId"] = "%SRCROOT%"
    region: dict[str, Any] = {"startLine": max(frame.line, 1)}
    if frame.code:
        region["snippet"] = {"text": frame.code}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": region},
        "logicalLocations": [{"fullyQualifiedName": frame.function, "kind": "function"}],
    }
