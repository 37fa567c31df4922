"""What grpcio itself notes of messages that it is sending or receiving for a stream."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import (
    AsyncGeneratorType,
    CellType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    MethodWrapperType,
)
from typing import Any

from grpc import _server
from grpc._cython import cygrpc

from .._core.steps import IteratorFromFunction
from .._core.stream import Stream
from .sight import Sight

# In the `due` of a sync call or of the server's state of an RPC, from the start of an operation of
# grpcio's core to its end.
_SENDS = {
    cygrpc.OperationType.send_message,
    "send_message",
    _server._SEND_INITIAL_METADATA_AND_SEND_MESSAGE_TOKEN,
}
_RECEIVES = {cygrpc.OperationType.receive_message, "receive_message"}


# What may stand between a direction and the generator that it advances: counting, for one.
_BETWEEN = (IteratorFromFunction, FunctionType, MethodType, MethodWrapperType, CellType, tuple)
_DEPTH = 8


def suspended(stream: Stream) -> Iterator[FrameType]:
    """Yield the frame of the generator that the messages of `stream` come from, if it waits."""
    writing: Any = stream.write
    held: list[Any] = [getattr(writing, "iterator", None) or getattr(writing, "step", None)]
    for _ in range(_DEPTH):
        for one in held:
            if type(one) is GeneratorType and not one.gi_running and one.gi_frame is not None:
                yield one.gi_frame
                return
            if type(one) is AsyncGeneratorType and not one.ag_running and one.ag_frame is not None:
                yield one.ag_frame
                return
        held = gc.get_referents(*(one for one in held if type(one) in _BETWEEN))


def is_sending(stream: Stream, sight: Sight) -> bool:
    """Tell whether gRPC has a message of the stream that it cannot send yet.

    For a stream with many messages to send: the one request of a unary-stream RPC counts as
    being sent until that has ended.
    """
    return not _SENDS.isdisjoint(_due(stream)) or id(stream.call()) in sight.sending


def is_receiving(stream: Stream) -> bool:
    """Tell whether gRPC waits for a message of the stream, whoever asked for it."""
    return not _RECEIVES.isdisjoint(_due(stream))


def _due(stream: Stream) -> frozenset[Any]:
    state: Any = getattr(stream.call(), "_state", None)
    return frozenset(getattr(state, "due", None) or ())
