"""Records as bytes: the same as protobuf makes of their fields, one by one."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from inside import Frame, core_which, encoding, inspect_messages, inspect_records, inspection_pb2
from support.snapshots import HERE, OWNER, SNAPSHOT

from grpc_guard.inspection import DirectionSnapshot, HandlerSnapshot, StreamSnapshot

(FULL, BARE) = SNAPSHOT.streams
compiled: Any = core_which.compiled()
needs_compiled = pytest.mark.skipif(compiled is None, reason="needs the compiled core")


def makers(kind: Any) -> list[Any]:
    """Return what makes records of `kind`, of both cores as far as they are there."""
    found: list[Any] = [inspect_records.maker_in_python(kind)]
    return found if compiled is None else [*found, inspect_records.maker(kind)]


def descriptor(record: Any) -> Any:
    """Return the descriptor of the message that a record is."""
    return getattr(inspection_pb2, type(record).__name__).DESCRIPTOR


def encoded(record: Any, errors: str = "strict") -> Any:
    """Return the message that the bytes of `record` are."""
    message = getattr(inspection_pb2, type(record).__name__)
    encode = encoding.Encoder(errors).of(type(record), message.DESCRIPTOR)
    return message.FromString(encode(record))


def plain(record: Any) -> Any:
    """Return the message that protobuf makes of the fields of `record`."""
    message = getattr(inspection_pb2, type(record).__name__)
    return message(**inspect_messages._fields(record, {}, None))


@pytest.mark.parametrize(
    "record",
    [
        FULL,
        BARE,
        dataclasses.replace(FULL, rpc="/" + "x" * 127, mode="é" * 10_000),
        *(dataclasses.replace(FULL, number=number) for number in (127, 128, 16_383, 16_384, -1)),
        dataclasses.replace(FULL, number=(1 << 31) - 1, channel=0, age_seconds=-0.0),
        DirectionSnapshot(dataclasses.replace(OWNER, stack=(), started_at=None), (OWNER,) * 300),
        DirectionSnapshot(waiting=(OWNER, dataclasses.replace(OWNER, held_seconds=None))),
        *(HandlerSnapshot("/a.B/C", OWNER, over) for over in (None, False, True)),
    ],
)
def test_as_protobuf_does_it(record: Any) -> None:
    """Numbers of any size, long text, what is None, what is 0 or empty, many in one field."""
    encoding._code.cache_clear()
    assert encoded(record) == plain(record)
    if core_which.compiled() is None:
        return
    encoding._encoding.cache_clear()
    field = SimpleNamespace(number=1 << 20, message_type=descriptor(record))
    for records in ([record], [record] * 3):
        data = encoding.CompiledEncoder().joined(field, records)
        assert data == encoding.Encoder("strict").joined(field, records)


def test_what_is_shared_is_encoded_once() -> None:
    """Not by what it is equal to, and not by an identity that was reused meanwhile."""
    encoder = encoding.Encoder("strict")
    encode = encoder.of(StreamSnapshot, inspection_pb2.StreamSnapshot.DESCRIPTOR)
    for line in range(100):  # each stack is gone before the next is made, but for the encoder
        (frame,) = OWNER.stack
        stack = (dataclasses.replace(frame, line=line),)
        stream = dataclasses.replace(BARE, origin=dataclasses.replace(OWNER, stack=stack))
        message = inspection_pb2.StreamSnapshot.FromString(encode(stream))
        assert message == plain(stream)
        assert [one.line for one in message.origin.stack] == [line]


def test_which_core_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that runs; the bytes are the same."""
    first = inspect_messages.encoded(SNAPSHOT)
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    assert type(encoding.encoder()) is encoding.Encoder
    assert inspect_messages.encoded(SNAPSHOT) == first


@needs_compiled
def test_what_is_shared_is_copied() -> None:
    """Many stacks, which take turns, and one tuple in two fields."""
    field = SimpleNamespace(number=1, message_type=descriptor(BARE))
    frames = [dataclasses.replace(OWNER.stack[0], line=line, code="x" * line) for line in range(99)]
    stacks = [tuple(frames[: number % 7]) for number in range(99)] + [(frame,) for frame in frames]
    streams = [
        dataclasses.replace(BARE, origin=dataclasses.replace(OWNER, stack=stack))
        for stack in stacks * 2
    ]
    data = encoding.CompiledEncoder().joined(field, streams)
    assert data == encoding.Encoder("strict").joined(field, streams)

    @dataclasses.dataclass(frozen=True, slots=True)
    class Twice:
        one: tuple[Any, ...]
        other: tuple[Any, ...]

    frame = encoding.encoding_of(type(HERE), descriptor(HERE))
    fields = ("one", "t", b"\x0a", frame), ("other", "t", b"\x12", frame)
    data = compiled.Encoding(Twice, fields).joined(b"\x0a", [Twice(OWNER.stack, OWNER.stack)])
    each = frame.joined(b"\x0a", OWNER.stack)
    assert data[-2 * len(each) :] == each + b"\x12" + each[1:]


@needs_compiled
def test_what_is_no_record() -> None:
    """The compiled core says so."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Some:
        value: Any

    def of(how: str, value: Any, nested: Any = None, tag: bytes = b"\x08") -> Any:
        return compiled.Encoding(Some, (("value", how, tag, nested),)).joined(b"", [value])

    frame = encoding.encoding_of(type(HERE), descriptor(HERE))
    assert of("i", Some(None)) == b"\x00"
    assert of("b", Some([0])) == b"\x02\x08\x01"
    for how, value in (("i", "1"), ("d", "1"), ("s", 1), ("r", 1), ("t", []), ("t", (1,))):
        with pytest.raises(TypeError):
            of(how, Some(value), frame if how in "rt" else None)
    for value in (1, object.__new__(Some)):
        with pytest.raises((TypeError, AttributeError), match="Some"):
            of("i", value)
    with pytest.raises(ArithmeticError):
        of("b", Some(Unknown()))
    for how, nested, tag in (
        ("x", None, b""),
        ("r", None, b""),
        ("i", frame, b""),
        ("i", None, b"123456789"),
    ):
        with pytest.raises(ValueError, match="no such field"):
            of(how, None, nested, tag)
    with pytest.raises(ValueError, match="a tag is"):
        frame.joined(b"123456789", [])
    for wrong in (("a", "b"), (1, "i", b"", None), ("nothing", "i", b"", None)):
        with pytest.raises((TypeError, AttributeError)):
            compiled.Encoding(Some, (wrong,))
    with pytest.raises(TypeError):
        compiled.Encoding(Some, [])
    for arguments in ((), (b"", 1)):
        with pytest.raises(TypeError):
            frame.joined(*arguments)


class Unknown:
    """Neither true nor false."""

    def __bool__(self) -> bool:
        raise ArithmeticError


@pytest.mark.parametrize("make", makers(Frame))
def test_records_that_are_made_in_one_step(make: Any) -> None:
    """They are like others: frozen, equal, of their class."""
    made = make("app.py", 12, "consume", "next(call)")
    assert made == HERE
    assert type(made) is Frame
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.line = 1
    for wrong in (("app.py",), ("app.py",) * 5):
        with pytest.raises(TypeError):
            make(*wrong)


@needs_compiled
def test_what_cannot_be_made_in_one_step() -> None:
    """What is no class of slots alone, or says itself how its objects are made."""

    class Own:
        __slots__ = ("value",)

        def __new__(cls) -> Any: ...

    class Plain:
        value = 1

    for arguments in ((Own, ("value",)), (Plain, ("value",)), (Frame, ("other",)), (Frame, [])):
        with pytest.raises((TypeError, AttributeError)):
            compiled.Maker(*arguments)
    with pytest.raises(TypeError, match="takes 1 values"):
        compiled.Maker(Frame, ("line",))(line=1)


def test_text_that_utf_8_lacks() -> None:
    """Names of files may hold bytes that are no text."""
    odd = dataclasses.replace(BARE, rpc="/app\udcff")
    with pytest.raises(UnicodeEncodeError):
        encoded(odd)
    assert encoded(odd, "backslashreplace").rpc == "/app\\udcff"
    handlers = (HandlerSnapshot("/app\udcff", OWNER, None),)
    servers = (dataclasses.replace(SNAPSHOT.servers[0], handlers=handlers),)
    data = inspect_messages.encoded(dataclasses.replace(SNAPSHOT, servers=servers))
    message = inspection_pb2.Snapshot.FromString(data)
    assert message.servers[0].handlers[0].rpc == "/app\\udcff"
    assert len(message.streams) == len(SNAPSHOT.streams)
