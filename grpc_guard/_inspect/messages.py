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
    return _fill(pb.Snapshot(), snapshot, {})


def message_of_finding(finding: Finding) -> Any:
    """Return `finding` as a message."""
    return _fill(pb.Finding(), finding, {})


def snapshot_of(message: Any) -> Snapshot:
    """Return the snapshot that a message is; what a later version has added to it is left out."""
    taken: Snapshot = _read(message, Snapshot)
    return taken


def _fill(message: Any, record: Any, stacks: dict[int, list[Any]]) -> Any:
    """Put `record` into `message`, and return it.

    In `stacks` are the messages of those stacks that were met, by identity: most parties stand at
    the same few lines.
    """
    of: Any = type(record)
    for name in _names_of(of):
        value = getattr(record, name)
        if value is None:
            continue
        kind = type(value)
        if kind is str or isinstance(value, str):
            setattr(message, name, value if kind is str and value.isascii() else _encodable(value))
        elif kind is tuple:
            repeated = getattr(message, name)
            if id(value) in stacks:
                repeated.extend(stacks[id(value)])
            else:
                stacks[id(value)] = [_one_of(repeated, one, stacks) for one in value]
        elif dataclasses.is_dataclass(kind):
            inner = getattr(message, name)
            inner.SetInParent()  # also where all of its fields are as by default
            _fill(inner, value, stacks)
        else:
            setattr(message, name, value)
    return message


def _one_of(repeated: Any, one: Any, stacks: dict[int, list[Any]]) -> Any:
    """Append `one` to the repeated field, and return what was appended."""
    if dataclasses.is_dataclass(type(one)):
        return _fill(repeated.add(), one, stacks)
    value = _encodable(one)
    repeated.append(value)
    return value


@functools.cache
def _names_of(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _encodable(value: Any) -> Any:
    """Return `value`, of a rule its name; names of files may hold what is no text for protobuf."""
    if isinstance(value, str):
        return str.__str__(value).encode(errors="backslashreplace").decode()
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
