"""What the rules about lives cost when an object is made: the notes that are taken then."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import grpc

import grpc_guard
from grpc_guard._catalogue.modes import Mode
from grpc_guard._core.stream import Stream
from grpc_guard._lifecycle.handlers import Handlers
from grpc_guard._lifecycle.starts import starting

from ._measure import Figure, Plan, compare

TITLE = "the notes taken when a stream begins (CPU time); a message costs nothing"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of a stream's record: bare, with a client's note, and with a server's."""
    channel = grpc_guard.wrap(grpc.insecure_channel("127.0.0.1:1"))
    multi_callable = channel.unary_stream("/a/b").__wrapped__
    handlers = Handlers(None)

    def bare(operations: int) -> None:
        for _ in repeat(None, operations):
            Stream("/a/b", "client", "sync", Mode.RAISE).ended = True

    def client(operations: int) -> None:
        for _ in repeat(None, operations):
            stream = Stream("/a/b", "client", "sync", Mode.RAISE)
            starting(stream, multi_callable)
            stream.ended = True

    def server(operations: int) -> None:
        for _ in repeat(None, operations):
            stream = Stream("/a/b", "server", "sync", Mode.RAISE)
            handlers.enter(stream)
            stream.ended = True

    contenders = {
        "record of a stream": bare,
        "record, noted by a client": client,
        "record, noted by a server": server,
    }
    yield from compare(
        contenders,
        subject="record, noted by a client",
        reference="record of a stream",
        plan=plan,
    )
    channel.close()
