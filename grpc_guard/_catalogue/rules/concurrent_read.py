"""The rule concurrent-read: a read began while another of the same stream was in progress."""

from __future__ import annotations

from ..overlap import Overlap
from ..rule import Rule

CONCURRENT_READ = Rule(
    "concurrent-read",
    severity="error",
    waitable=True,
    summary="a read began while another of the same stream was in progress",
    unguarded={
        "client sync": "the second reader gets 'ValueError: Internal gRPC call error 8', "
        "and messages can go to the wrong reader",
        "client aio": "the second reader hangs, then is told that the stream has ended while "
        "messages are still to come; nothing is raised, but by `async for`: there it gets "
        "'RuntimeError: anext(): asynchronous generator is already running'",
        "server sync": "messages are split between the readers, one may see a false end of "
        "stream, and grpcio's serving thread can die: every client of the server then hangs",
        "server aio": "the second reader is told that the stream has ended while messages are "
        "still to come; nothing is raised",
    },
    remedy="let one thread or task read and hand the messages on (grpc_guard.Receiver does, and "
    "grpc_guard.aio.Receiver), or hold one lock around every read",
    source="grpc-go Documentation/concurrency.md and stream.go; grpcio, docstrings of "
    "StreamStreamCall.read and aio.ServicerContext.read",
)


class ConcurrentRead(Overlap):
    __slots__ = ()

    rule = CONCURRENT_READ
