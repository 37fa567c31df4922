"""Records as the bytes of their protobuf messages: what thousands of them share is encoded once.

A message of protobuf takes each field by a call. Here the code that joins the pieces of a record
is compiled from its fields, as the methods of dataclasses are, and finds most pieces in tables.
Where the compiled core runs, it goes through the fields.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from .._core import which

Encode = Callable[[Any], bytes]

_INT, _DOUBLE, _BYTES = range(3)  # wire types: https://protobuf.dev/programming-guides/encoding/
_double = struct.Struct("<Bd").pack


class Encodes(Protocol):
    """Encodes records for one message.

    Their fields are text, numbers, records, and tuples of records; all may be None but tuples.
    """

    def joined(self, field: Any, records: Sequence[Any]) -> bytes:
        """Return `records`, all of one kind, as this repeated field of a message, given as protobuf has it."""


class CompiledEncoder:
    """The same as Encoder("strict"), by the compiled core."""

    def joined(self, field: Any, records: Sequence[Any]) -> bytes:
        encoding = encoding_of(type(records[0]), field.message_type)
        found: bytes = encoding.joined(tag(field.number), records)
        return found


def encoding_of(kind: Any, descriptor: Any) -> Any:
    """Return how the compiled core encodes records of `kind` for the message of `descriptor`."""
    compiled: Any = which.compiled()
    return _encoding(compiled.Encoding, kind, descriptor)


@functools.cache
def _encoding(make: Any, kind: Any, descriptor: Any) -> Any:
    """Return how the compiled core encodes records of `kind`."""
    fields = []
    for name, expected in types_of(kind).items():
        field, of = descriptor.fields_by_name[name], _choice(expected)
        how, wire_type = _PLAIN.get(of, ("r", _BYTES))
        nested = None
        if typing.get_origin(of) is tuple:
            how, of = "t", typing.get_args(of)[0]
        if how in "rt":
            nested = _encoding(make, of, field.message_type)
        fields.append((name, how, _tag(field.number, wire_type), nested))
    return make(kind, tuple(fields))


_PLAIN = {float: ("d", _DOUBLE), bool: ("b", _INT), int: ("i", _INT), str: ("s", _BYTES)}


class Encoder:
    """Encodes records, in Python; `errors` is for text that UTF-8 lacks, see str.encode()."""

    def __init__(self, errors: str) -> None:
        self._shared = {
            "__name__": __name__,
            "double": _double,
            "join": b"".join,
            "number": _Numbers(),
            "text": _Texts(errors),
        }
        self._made: dict[int, Encode] = {}  # by the identity of types
        self._kept: list[object] = []  # must not give their identity away

    def of(self, kind: Any, descriptor: Any) -> Encode:
        """Return what encodes records of `kind`; `descriptor` is that of their message."""
        if id(kind) not in self._made:
            code, repeated = _code(kind, descriptor)
            names = {name: self._of_tuples(of, field) for name, of, field in repeated}
            self._made[id(kind)] = eval(code, self._shared | names)
        return self._made[id(kind)]

    def joined(self, field: Any, records: Sequence[Any]) -> bytes:
        """See Encodes."""
        encode = self.of(type(records[0]), field.message_type)
        return Heads(field.number).joined(map(encode, records))

    def _of_tuples(self, kind: Any, field: Any) -> Encode:
        heads, encode = Heads(field.number), self.of(kind, field.message_type)
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
        self._tag = _tag(number, _BYTES)

    def __missing__(self, length: int) -> bytes:
        head = self[length] = self._tag + _varint(length)
        return head

    def joined(self, bodies: Iterable[bytes]) -> bytes:
        """Return a repeated field."""
        return b"".join([self[len(body)] + body for body in bodies])


class _Texts(dict[str, bytes]):
    """Text after its length."""

    def __init__(self, errors: str) -> None:
        self._errors = errors

    def __missing__(self, text: str) -> bytes:
        body = text.encode(errors=self._errors)
        found = self[text] = _varint(len(body)) + body
        return found


class _Numbers(dict[int, bytes]):
    def __missing__(self, value: int) -> bytes:
        found = self[value] = _varint(value)
        return found


def encoder() -> Encodes:
    """Return what encodes for the core that runs; UnicodeEncodeError for text that UTF-8 lacks."""
    return Encoder("strict") if which.compiled() is None else CompiledEncoder()


def tag(number: int) -> bytes:
    """Return what stands before each value of a field of records or text."""
    return _tag(number, _BYTES)


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


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
def _code(kind: Any, descriptor: Any) -> tuple[types.CodeType, list[tuple[str, Any, Any]]]:
    """Return the code of a function that joins the pieces of a record; to protobuf None is nothing.

    And the names in it of what encodes tuples of records, each with their kind and their field. Not
    from a string by eval(): that makes CPython forget that the program died of an interrupt.
    """
    repeated: list[tuple[str, Any, Any]] = []
    pieces = ", ".join(_pieces(kind, descriptor, "record", repeated))
    return compile(f"lambda record: join(({pieces},))", __file__, "eval"), repeated


def _pieces(
    kind: Any, descriptor: Any, record: str, repeated: list[tuple[str, Any, Any]]
) -> Iterator[str]:
    """Yield the pieces of `record`, an expression; adds to `repeated`, see _code()."""
    for name, expected in types_of(kind).items():
        field, of = descriptor.fields_by_name[name], _choice(expected)
        value = f"{record}.{name}"
        variable = value.replace(".", "_")
        pieces = _pieces_of(of, field, value if of is expected else variable, repeated)
        if of is expected:
            yield from pieces
        else:
            yield f"b'' if ({variable} := {value}) is None else {' + '.join(pieces)}"


def _pieces_of(
    of: Any, field: Any, value: str, repeated: list[tuple[str, Any, Any]]
) -> Iterator[str]:
    if of is float:
        yield f"double({_tag(field.number, _DOUBLE)[0]}, {value})"
    elif of is bool:
        yes, no = (_tag(field.number, _INT) + one for one in (b"\1", b"\0"))
        yield f"({yes!r} if {value} else {no!r})"
    elif of is int:
        yield repr(_tag(field.number, _INT))
        yield f"number[{value}]"
    elif of is str:
        yield repr(_tag(field.number, _BYTES))
        yield f"text[{value}]"
    elif dataclasses.is_dataclass(of):
        body = f"body_of_{value}".replace(".", "_")
        pieces = ", ".join(_pieces(of, field.message_type, value, repeated))
        yield repr(_tag(field.number, _BYTES))
        yield f"number[len({body} := join(({pieces},)))]"
        yield body
    else:
        repeated.append((f"tuples_{len(repeated)}", typing.get_args(of)[0], field))
        yield f"{repeated[-1][0]}({value})"
