"""Records as bytes: the same as protobuf makes of their fields, one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from inside import encoding, inspect_messages, inspection_pb2
from support.snapshots import OWNER, SNAPSHOT

from grpc_guard.inspection import DirectionSnapshot, HandlerSnapshot, StreamSnapshot

(FULL, BARE) = SNAPSHOT.streams


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
