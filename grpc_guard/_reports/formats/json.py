"""The report as JSON, by the schema grpc-guard-report/1."""

from __future__ import annotations

import json

from ..document import document
from ..report import Report

name = "json"
suffixes = (".json",)


def render(report: Report) -> str:
    """Return the report document; report.schema.json describes it."""
    return json.dumps(document(report), indent=2, ensure_ascii=False) + "\n"
