"""What grpcio itself notes of messages that it is sending or receiving for a stream."""

from __future__ import annotations

from typing import Any

from grpc import _server
from grpc._cython import cygrpc

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
