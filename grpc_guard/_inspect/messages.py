"""Snapshots as protobuf messages and back: the fields have the names of those of the records."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

from .._catalogue.catalogue import RULES
from .._catalogue.rule import ANY, Rule
from .._findings.records import Finding
from . import inspection_pb2 as pb
from .records import Snapshot

VERSION = 1


def message_of(snapshot: Snapshot) -> Any:
    """Return `snapshot` as a message."""
    return _filled(pb.Snapshot(), snapshot)


def message_of_finding(finding: Finding) -> Any:
    """Return `finding` as a message."""
    return _filled(pb.Finding(), finding)


def snapshot_of(message: Any) -> Snapshot:
    """Return the snapshot that a message is; what a later version has added to it is left out."""
    taken: Snapshot = _read(message, Snapshot)
    return taken


def _filled(message: Any, record: Any) -> Any:
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, tuple):
            for one in value:
                if dataclasses.is_dataclass(one):
                    _filled(getattr(message, field.name).add(), one)
                else:
                    getattr(message, field.name).append(one)
        elif dataclasses.is_dataclass(value):
            inner = getattr(message, field.name)
            inner.SetInParent()  # also where all of its fields are as by default
            _filled(inner, value)
        elif value is not None:
            text = str.__str__(value) if isinstance(value, str) else value  # of a rule, its name
            setattr(message, field.name, _encodable(text))
    return message


def _encodable(value: Any) -> Any:
    """Return `value`; names of files may hold what is no text for protobuf."""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    return value


def _read(message: Any, kind: Any) -> Any:
    values = {name: _value(message, name, expected) for name, expected in _types_of(kind).items()}
    return kind(**values)


@functools.cache
def _types_of(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(message: Any, name: str, expected: Any) -> Any:
    if typing.get_origin(expected) is types.UnionType:
        if not message.HasField(name):
            return None
        expected = typing.get_args(expected)[0]
    value = getattr(message, name)
    if typing.get_origin(expected) is tuple:
        (of, _) = typing.get_args(expected)
        return tuple(_read(one, of) if dataclasses.is_dataclass(of) else one for one in value)
    if expected is Rule:
        return RULES.get(value) or _unknown_rule(message)
    return _read(value, expected) if dataclasses.is_dataclass(expected) else value


def _unknown_rule(message: Any) -> Rule:
    """Return a rule that a later version has, as far as its finding says what it is."""
    return Rule(
        message.rule,
        severity=message.severity,
        summary="",
        unguarded={ANY: ""},
        remedy=message.remedy,
        source="",
    )
