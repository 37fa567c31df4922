"""The report as SARIF 2.1.0, which code-scanning pages show beside the code."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import __version__
from .._findings import Finding, Frame, Owner
from .._messages import party, report
from .._rules import RULES, Rule

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Iterable[Finding]) -> dict[str, Any]:
    """Return the SARIF log of `findings`, files relative to the current folder."""
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
                "originalUriBaseIds": {"%SRCROOT%": {"uri": Path.cwd().as_uri() + "/"}},
                "results": [_result(finding, rules) for finding in findings],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    help_text = f"{rule.summary}.\n\nHow to fix it: {rule.remedy}.\n\nSource: {rule.source}"
    return {
        "id": rule.name,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": f"{rule.summary}; {rule.source}"},
        "help": {"text": help_text, "markdown": help_text},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"tags": ["concurrency", "grpc"]},
    }


def _result(finding: Finding, rules: list[Rule]) -> dict[str, Any]:
    parties = [("caller", finding.caller)]
    if finding.owner is not None:
        parties.append(("owner", finding.owner))
    related = [
        {
            "id": number,
            **_location(owner.site),
            "message": {"text": f"{role}: {party(owner)} in {owner.operation}"},
        }
        for number, (role, owner) in enumerate(parties)
        if owner.site is not None
    ]
    result: dict[str, Any] = {
        "ruleId": finding.rule.name,
        "ruleIndex": rules.index(finding.rule),
        "level": finding.severity,
        "message": {"text": report(finding)},
        "occurrenceCount": finding.count,
        "relatedLocations": related,
        "stacks": [_stack(role, owner) for role, owner in parties if owner.stack],
        "properties": {
            "rpc": finding.rpc,
            "side": finding.side,
            "api": finding.api,
            "time": finding.time,
            "test": finding.test,
        },
    }
    site = finding.caller.site or (finding.owner.site if finding.owner is not None else None)
    if site is not None:
        result["locations"] = [_location(site)]
    return result


def _stack(role: str, owner: Owner) -> dict[str, Any]:
    frames = [{"location": _location(frame)} for frame in reversed(owner.stack)]
    return {"message": {"text": f"{role}: {party(owner)}"}, "frames": frames}


def _location(frame: Frame | None) -> dict[str, Any]:
    assert frame is not None
    path = Path(frame.file)
    try:
        artifact = {
            "uri": quote(path.relative_to(os.getcwd()).as_posix()),
            "uriBaseId": "%SRCROOT%",
        }
    except ValueError:
        artifact = {"uri": path.as_uri() if path.is_absolute() else quote(frame.file)}
    region: dict[str, Any] = {"startLine": frame.line}
    if frame.code:
        region["snippet"] = {"text": frame.code}
    return {
        "physicalLocation": {"artifactLocation": artifact, "region": region},
        "logicalLocations": [{"fullyQualifiedName": frame.function, "kind": "function"}],
    }
