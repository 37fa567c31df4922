"""Snapshots as protobuf messages and back: the fields have the names of those of the records."""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

from .._catalogue.catalogue import RULES
from .._catalogue.rule import ANY, Rule
from .._findings.records import Finding
from . import inspection_pb2 as pb
from .records import Snapshot

VERSION = 1


def message_of(snapshot: Snapshot) -> Any:
    """Return `snapshot` as a message."""
    return _message(pb.Snapshot, snapshot)


def message_of_finding(finding: Finding) -> Any:
    """Return `finding` as a message."""
    return _message(pb.Finding, finding)


def snapshot_of(message: Any) -> Snapshot:
    """Return the snapshot that a message is; what a later version has added to it is left out."""
    taken: Snapshot = _read(message, Snapshot)
    return taken


_NUMBERS = frozenset({float, int, bool})
_PLAIN = _NUMBERS | {str}


def _message(kind: Any, record: Any) -> Any:
    try:
        return kind(**_fields(record, {}, _PLAIN))
    except UnicodeEncodeError:  # rare, and to look at each text beforehand takes long
        return kind(**_fields(record, {}, _NUMBERS))


def _fields(record: Any, known: dict[int, list[Any]], plain: Collection[type]) -> dict[str, Any]:
    """Return the fields of `record` that are not None, as protobuf takes them.

    In `known` are those of the tuples that were met, by identity: most parties stand at the same
    few lines. Values of the types in `plain` are taken as they are.
    """
    of: Any = type(record)
    names, values = _fields_of(of)
    found: dict[str, Any] = {}
    for name, value in zip(names, values(record)):  # noqa: B905  # of one length, and often
        kind = type(value)
        if kind in plain:
            found[name] = value
        elif kind is tuple:
            if value:
                told = known.get(id(value))
                if told is None:
                    told = known[id(value)] = [_value_of(one, known, plain) for one in value]
                found[name] = told
        elif value is not None:
            found[name] = _value_of(value, known, plain)
    return found


def _value_of(value: Any, known: dict[int, list[Any]], plain: Collection[type]) -> Any:
    return _fields(value, known, plain) if dataclasses.is_dataclass(value) else _encodable(value)


@functools.cache
def _fields_of(kind: Any) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    names = tuple(field.name for field in dataclasses.fields(kind))
    return names, operator.attrgetter(*names)


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
