"""Snapshots as protobuf messages and back: the fields have the names of those of the records."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._catalogue.catalogue import RULES
from .._catalogue.clock import monotonic
from .._catalogue.rule import ANY, Rule
from .._core import which
from .._findings.records import Finding
from . import inspection_pb2 as pb
from .encoding import Encoder, Encodes, Heads, encoder, types_of
from .native import slices_of
from .records import Snapshot

VERSION = 1


def encoded(snapshot: Snapshot) -> bytes:
    """Return the bytes of the message of `snapshot`."""
    try:
        return b"".join(_encoded(snapshot, None, encoder()))
    except UnicodeEncodeError:  # rare, and to look at each text beforehand takes long
        return b"".join(_encoded(snapshot, _encodable, Encoder("backslashreplace")))


class Answer:
    """What a message has of a snapshot in bytes, in place of records, by the compiled core.

    Its streams, in memory that close() leaves to the next answer, and for each of its servers the
    handlers.
    """

    def __init__(self) -> None:
        compiled: Any = which.compiled()
        try:
            memory, copies = _spare.pop()
        except IndexError:  # the first one, or one beside another
            memory, copies = tuple(compiled.Scratch() for _ in range(3)), None
        self._memory = self.streams, self.of_handlers, self._in_order = memory
        if copies is None and monotonic() - _closed[0] < _SECONDS:
            copies = compiled.Copies()
        self.copies = copies  # what the last answer said; None for one that stands alone
        # So many take a millisecond or two: more of those that have not changed.
        self.together = 1024 if copies is None or copies.known()[0] == 0 else 2048
        if copies is not None:
            copies.begin()
        self._is_whole = False
        self.handlers: list[tuple[int, int]] = []  # from where to where those of each server are
        self._views: list[memoryview] = []

    def put_handlers(self) -> None:
        """Put the handlers of one more server in their order: those that answer_handlers() has put."""
        compiled: Any = which.compiled()
        begin = self.handlers[-1][1] if self.handlers else 0
        size = compiled.handlers_in_order(self.of_handlers, self._in_order)
        self.handlers.append((begin, begin + size))

    def parts(self) -> Iterator[memoryview]:
        """Yield the bytes of the streams."""
        self._is_whole = True
        yield from self._of(self.streams)

    def handlers_of(self, number: int) -> Iterator[memoryview]:
        """Yield the bytes of the handlers of one server."""
        yield from self._of(self._in_order, *self.handlers[number])

    def _of(self, memory: Any, begin: int = 0, end: int | None = None) -> Iterator[memoryview]:
        with memoryview(memory) as whole:
            view = whole[begin:end]
        self._views.append(view)
        if len(view) > 0:
            yield view

    def close(self) -> None:
        """Let the next answer have the memory, if they follow soon upon each other."""
        (last,), now = _closed, monotonic()
        _closed[0] = now
        for view in self._views:
            view.release()
        with contextlib.suppress(BufferError):  # somebody else looks at it
            if self.copies is not None and self._is_whole:
                self.copies.keep(self.streams, self.of_handlers)
            for memory in self._memory:
                memory.clear()
            _spare[:] = [(self._memory, self.copies)] if now - last < _SECONDS else []


_SECONDS = 10.0  # between two answers; after more, no memory is kept
_spare: list[Any] = []  # of one answer, popped in one step
_closed = [float("-inf")]  # when the last answer was


def reply_with(snapshot: Snapshot, answer: Answer | None = None) -> bytes:
    """Return the bytes of a Reply with `snapshot`, and with what is in the `answer`.

    If there is one, UnicodeEncodeError for text that UTF-8 lacks.
    """
    return b"".join(parts_of_reply(snapshot, answer))


def parts_of_reply(snapshot: Snapshot, answer: Answer | None) -> list[bytes | memoryview]:
    """Return the same in parts, of which one may be the memory of `answer`."""
    parts: list[bytes | memoryview]
    if answer is None:
        parts = [encoded(snapshot)]
    else:
        parts = list(_encoded(snapshot, None, encoder(), answer))
    field = pb.Reply.DESCRIPTOR.fields_by_name["snapshot"]
    head = pb.Reply(version=VERSION).SerializeToString()
    return [head + Heads(field.number)[sum(map(len, parts))], *parts]


def message_of_finding(finding: Finding) -> Any:
    """Return `finding` as a message."""
    try:
        return pb.Finding(**_fields(finding, {}, None))
    except UnicodeEncodeError:
        return pb.Finding(**_fields(finding, {}, _encodable))


def _encoded(
    snapshot: Snapshot, text: Text | None, encoder: Encodes, answer: Answer | None = None
) -> Iterator[Any]:
    """Yield the parts of the message of `snapshot`, and of what is in the `answer`."""
    few = dataclasses.replace(snapshot, streams=(), servers=())
    yield pb.Snapshot(**_fields(few, {}, text)).SerializeToString()
    if answer is not None:
        yield from answer.parts()
    yield from _repeated(snapshot.streams, pb.Snapshot, "streams", encoder)
    heads = Heads(pb.Snapshot.DESCRIPTOR.fields_by_name["servers"].number)
    for number, server in enumerate(snapshot.servers):
        plain = _fields(dataclasses.replace(server, handlers=()), {}, text)
        body = [pb.ServerSnapshot(**plain).SerializeToString()]
        body += _repeated(server.handlers, pb.ServerSnapshot, "handlers", encoder)
        body += () if answer is None else answer.handlers_of(number)
        yield heads[sum(map(len, body))]
        yield from body


def _repeated(records: Sequence[Any], kind: Any, name: str, encoder: Encodes) -> Iterator[bytes]:
    """Yield `records`, of which there may be thousands, as a repeated field of a message."""
    field = kind.DESCRIPTOR.fields_by_name[name]
    for some in slices_of(records):
        yield encoder.joined(field, some)


def snapshot_of(message: Any) -> Snapshot:
    """Return the snapshot that a message is; what a later version has added to it is left out."""
    taken: Snapshot = _read(message, Snapshot)
    return taken


Text = Callable[[Any], Any]


def _encodable(value: Any) -> Any:
    """Return `value`; names of files may hold what is no text for protobuf."""
    if isinstance(value, str):
        return str.__str__(value).encode(errors="backslashreplace").decode()
    return value


def _fields(record: Any, known: dict[int, list[Any]], text: Text | None) -> dict[str, Any]:
    """Return the fields of `record` as protobuf takes them, to which None is an unset one.

    In `known` are those of the tuples that were met, by identity: most parties stand at the same
    few lines. If there is a `text`, all text is passed through it.
    """
    of: Any = type(record)
    read, others = _reader_of(of)
    found = read(record)
    if text is not None:
        found = {name: text(value) for name, value in found.items()}
    for name in others:
        value = found[name]
        if type(value) is tuple:
            told = known.get(id(value))
            if told is None:
                told = known[id(value)] = [_value_of(one, known, text) for one in value]
            found[name] = told
        elif value is not None:
            found[name] = _fields(value, known, text)
    return found


def _value_of(value: Any, known: dict[int, list[Any]], text: Text | None) -> Any:
    if dataclasses.is_dataclass(value):
        return _fields(value, known, text)
    return value if text is None else text(value)


@functools.cache
def _reader_of(kind: Any) -> tuple[Callable[[Any], dict[str, Any]], list[str]]:
    """Return what reads all fields of records of `kind`, and the names of those that may hold records.

    It is compiled, as the methods of dataclasses are: a loop over the fields takes thrice as long.
    Not from a string by eval(): that makes CPython forget that the program died of an interrupt.
    """
    fields = types_of(kind)
    entries = ", ".join(f"{name!r}: record.{name}" for name in fields)
    others = [name for name, of in fields.items() if not _PLAIN.issuperset(_choices(of))]
    code = compile(f"lambda record: {{{entries}}}", __file__, "eval")
    return eval(code), others


_PLAIN = {str, Rule, float, int, bool, types.NoneType}


def _choices(expected: Any) -> tuple[Any, ...]:
    return typing.get_args(expected) or (expected,)


def _read(message: Any, kind: Any) -> Any:
    values = {name: _value(message, name, expected) for name, expected in types_of(kind).items()}
    return kind(**values)


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
