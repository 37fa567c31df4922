"""The report document, schema grpc-guard-report/1: made from findings and read back.

The schema itself is in report.schema.json. A finding has no payload, metadata or credentials, so
a document has none.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any, TypeVar

from .._catalogue.catalogue import rule_named
from .._core import which
from .._findings.records import Finding, Frame, Owner
from .._inspect.records import Snapshot
from .report import Report

SCHEMA = "grpc-guard-report/1"

Document = dict[str, Any]
T = TypeVar("T")


def document(report: Report) -> Document:
    """Return the report document of one process, or of several merged into one."""
    counted = [
        {"rule": rule, "rpc": rpc, "count": number}
        for (rule, rpc), number in report.not_kept.items()
    ]
    snapshots = [snapshot_to_dict(snapshot) for snapshot in report.in_progress]
    content: Document = {
        "schema": SCHEMA,
        "mode": report.mode,
        "pid": report.pid,
        "core": which.name(),
        "streams": report.streams,
        "operations": report.operations,
        "findings": [finding_to_dict(one) for one in report.findings if not one.is_advice],
        "advice": [finding_to_dict(one) for one in report.findings if one.is_advice],
        **({"in_progress": snapshots} if snapshots else {}),
        **({"not_kept": counted} if counted else {}),
    }
    if report.unguarded:
        content["unguarded"] = [
            {"pid": pid, "reason": why} for pid, why in report.unguarded.items()
        ]
    if report.cut_off:
        content["cut_off"] = [{"pid": pid, "signal": name} for pid, name in report.cut_off.items()]
    return content


def snapshot_to_dict(snapshot: Snapshot) -> Document:
    """Return `snapshot` as plain data, with the fields of its records."""
    data = dataclasses.asdict(dataclasses.replace(snapshot, findings=()))
    return {**data, "findings": [finding_to_dict(finding) for finding in snapshot.findings]}


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    caller = _party(finding.caller)
    del caller["held_seconds"]  # a caller has only arrived
    return {
        "rule": finding.rule.name,
        "severity": finding.severity,
        "rpc": finding.rpc,
        "side": finding.side,
        "api": finding.api,
        "count": finding.count,
        "test": finding.test,
        "time": finding.time,
        "message": finding.message,
        "remedy": finding.remedy,
        "owner": None if finding.owner is None else _party(finding.owner),
        "caller": caller,
    }


def _party(owner: Owner) -> dict[str, Any]:
    return {
        "kind": owner.kind,
        "name": owner.name,
        "operation": owner.operation,
        "held_seconds": owner.held_seconds,
        "stack": [dataclasses.asdict(frame) for frame in owner.stack],
        "relation": owner.relation,
        "started_at": None if owner.started_at is None else dataclasses.asdict(owner.started_at),
    }


def finding_from_dict(data: dict[str, Any]) -> Finding:
    """Read back what :func:`finding_to_dict` made; KeyError or TypeError if it is not that."""
    return _checked(
        Finding(
            **{
                **data,
                "rule": rule_named(data["rule"]),
                "owner": None if data["owner"] is None else _owner(data["owner"]),
                "caller": _owner(data["caller"]),
            }
        )
    )


def _owner(data: dict[str, Any]) -> Owner:
    started_at = data.get("started_at")  # older reports have none
    return _checked(
        Owner(
            **{
                **data,
                "stack": tuple(_checked(Frame(**frame)) for frame in data["stack"]),
                "started_at": None if started_at is None else _checked(Frame(**started_at)),
            }
        )
    )


def _checked(record: T) -> T:
    """Return `record`; TypeError if a field does not have the type that its class declares."""
    made: Any = type(record)
    for name, kinds in _kinds(made).items():
        if type(getattr(record, name)) not in kinds:
            raise TypeError(f"{name} of another type")
    return record


@functools.cache
def _kinds(record: type) -> dict[str, tuple[type, ...]]:
    """Return the types that each field may have."""
    hints = typing.get_type_hints(record)
    return {name: tuple(_alternatives(hint)) for name, hint in hints.items()}


def _alternatives(hint: Any) -> typing.Iterator[type]:
    if isinstance(hint, types.UnionType):
        for one in typing.get_args(hint):
            yield from _alternatives(one)
    else:
        yield typing.get_origin(hint) or hint
        if hint is float:
            yield int
