"""Records as the bytes of their protobuf messages: what thousands of them share is encoded once.

A message of protobuf takes each field by a call. Here the code that joins the pieces of a record
is compiled from its fields, as the methods of dataclasses are, and finds most pieces in tables.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
import types
import typing
from collections.abc import Callable, Iterable
from typing import Any

Encode = Callable[[Any], bytes]

_INT, _DOUBLE, _BYTES = range(3)  # wire types: https://protobuf.dev/programming-guides/encoding/
_double = struct.Struct("<Bd").pack


class Encoder:
    """Encodes records for one message; `errors` is for text that UTF-8 lacks, see str.encode()."""

    def __init__(self, errors: str) -> None:
        self._errors = errors
        self._made: dict[int, Encode] = {}  # by the identity of types
        self._kept: list[object] = []  # must not give their identity away

    def of(self, kind: Any, descriptor: Any) -> Encode:
        """Return what encodes records of `kind`; `descriptor` is that of their message.

        Their fields are text, numbers, records, and tuples of records; all may be None but tuples.
        """
        if id(kind) not in self._made:
            names: dict[str, Any] = {"__name__": __name__, "double": _double}
            for name, expected in types_of(kind).items():
                field = descriptor.fields_by_name[name]
                of = _choice(expected)
                if of is str:
                    names[f"{name}_of"] = _Texts(field.number, self._errors).__getitem__
                elif of is int:
                    names[f"{name}_of"] = _Numbers(field.number).__getitem__
                elif of not in (float, bool):
                    names[f"{name}_of"] = self._nested(of, field)
            self._made[id(kind)] = eval(_code(kind, descriptor), names)
        return self._made[id(kind)]

    def _nested(self, of: Any, field: Any) -> Encode:
        heads = Heads(field.number)
        if dataclasses.is_dataclass(of):
            encode = self.of(of, field.message_type)
            return lambda record: heads[len(body := encode(record))] + body
        encode = self.of(typing.get_args(of)[0], field.message_type)
        known: dict[int, bytes] = {id(()): b""}

        def joined(records: tuple[Any, ...]) -> bytes:
            found = known.get(id(records))  # most parties stand at the same few lines
            if found is None:
                found = known[id(records)] = heads.joined(map(encode, records))
                self._kept.append(records)
            return found

        return joined


class Heads(dict[int, bytes]):
    """What stands before so many bytes of a field."""

    def __init__(self, number: int) -> None:
        self._tag = number << 3 | _BYTES

    def __missing__(self, length: int) -> bytes:
        head = self[length] = bytes([self._tag]) + _varint(length)
        return head

    def joined(self, bodies: Iterable[bytes]) -> bytes:
        """Return a repeated field."""
        return b"".join([self[len(body)] + body for body in bodies])


class _Texts(dict[str, bytes]):
    def __init__(self, number: int, errors: str) -> None:
        self._heads, self._errors = Heads(number), errors

    def __missing__(self, text: str) -> bytes:
        body = text.encode(errors=self._errors)
        found = self[text] = self._heads[len(body)] + body
        return found


class _Numbers(dict[int, bytes]):
    def __init__(self, number: int) -> None:
        self._tag = bytes([number << 3 | _INT])

    def __missing__(self, value: int) -> bytes:
        found = self[value] = self._tag + _varint(value)
        return found


def _varint(value: int) -> bytes:
    if 0 <= value <= 0x7F:
        return bytes((value,))
    if 0 <= value < 1 << 14:  # as most are
        return bytes((value & 0x7F | 0x80, value >> 7))
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


@functools.cache
def types_of(kind: Any) -> dict[str, Any]:
    """Return the types of the fields of a kind of record."""
    return typing.get_type_hints(kind)


def _choice(expected: Any) -> Any:
    """Return the type of a field that may be None too."""
    if typing.get_origin(expected) is types.UnionType:
        (expected,) = (one for one in typing.get_args(expected) if one is not types.NoneType)
    return expected


@functools.cache
def _code(kind: Any, descriptor: Any) -> types.CodeType:
    """Return the code of a function that joins the pieces of a record; to protobuf None is nothing.

    Not from a string by eval(): that makes CPython forget that the program died of an interrupt.
    """
    pieces = []
    for name, expected in types_of(kind).items():
        number, of = descriptor.fields_by_name[name].number, _choice(expected)
        value, test = f"record.{name}", ""
        if of is not expected:
            value, test = "value", f"b'' if (value := record.{name}) is None else "
        if of is float:
            piece = f"double({number << 3 | _DOUBLE}, {value})"
        elif of is bool:
            yes, no = (bytes([number << 3 | _INT, one]) for one in (1, 0))
            piece = f"({yes!r} if {value} else {no!r})"
        else:
            piece = f"{name}_of({value})"
        pieces.append(f"({test}{piece})")
    return compile(f"lambda record: b''.join(({', '.join(pieces)}))", __file__, "eval")
