"""A snapshot as the reports have it: plain data, with the fields of the records."""

from __future__ import annotations

import dataclasses
from typing import Any

from .._inspect.records import Snapshot
from .document import finding_to_dict


def snapshot_to_dict(snapshot: Snapshot) -> dict[str, Any]:
    """Return `snapshot` as what JSON can say; its findings are as in a report."""
    data = dataclasses.asdict(dataclasses.replace(snapshot, findings=()))
    data["findings"] = [finding_to_dict(finding) for finding in snapshot.findings]
    return data
