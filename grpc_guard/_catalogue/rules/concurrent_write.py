"""The rule concurrent-write: a write or half-close began while a write was in progress."""

from __future__ import annotations

from ..overlap import Overlap
from ..rule import ANY, Rule

CONCURRENT_WRITE = Rule(
    "concurrent-write",
    severity="error",
    waitable=True,
    summary="a write or half-close began while a write was in progress",
    unguarded={
        "client aio": "the RPC dies with INTERNAL 'Internal error from Core', and the other "
        "writer sees InvalidStateError",
        "server sync": "a message is lost silently, or the RPC hangs until its deadline "
        "(only handlers with experimental_non_blocking can do it)",
        "server aio": "one writer gets ExecuteBatchError, and messages are lost",
        ANY: "the RPC dies or messages are lost",
    },
    remedy="let one thread or task write and feed it through a queue (grpc_guard.Sender is one, and "
    "grpc_guard.aio.Sender), or hold one lock around every write and around done_writing()",
    source="grpc-go Documentation/concurrency.md and stream.go (CloseSend must not overlap SendMsg)",
)


class ConcurrentWrite(Overlap):
    __slots__ = ()

    rule = CONCURRENT_WRITE
