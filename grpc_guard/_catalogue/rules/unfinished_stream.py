"""The rule unfinished-stream: a stream was neither drained nor cancelled when the program or the test ended."""

from __future__ import annotations

from ..rule import ANY, Rule

UNFINISHED_STREAM = Rule(
    "unfinished-stream",
    severity="warning",
    summary="a stream was neither drained nor cancelled when the program or the test ended",
    unguarded={
        "client sync": "the stream stays open: it takes a place on its connection, and a thread "
        "of the server",
        "client aio": "the stream stays open: garbage collection does not cancel it either",
        ANY: "cannot happen: a handler's stream ends with the handler",
    },
    remedy="read the stream to its end, or cancel() the call when you are done with it",
    source="grpc-go, comment of ClientConn.NewStream: to ensure resources are not leaked",
)
