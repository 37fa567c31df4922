"""The rule handler-returned: a server stream object was used after its handler had ended."""

from __future__ import annotations

from ..rule import ANY, Rule

HANDLER_RETURNED = Rule(
    "handler-returned",
    severity="error",
    summary="a server stream object was used after its handler had ended",
    unguarded={
        "server sync": "a silent end of stream, or a value read from a call that is no more",
        "server aio": "'RPC already finished', a silent end of stream, and a crash of the whole "
        "process for peer(), auth_context(), peer_identities() and peer_identity_key()",
        ANY: "cannot happen: only servers have handlers",
    },
    remedy="join the threads and await the tasks that use the stream before the handler returns; "
    "copy what they need of the context beforehand",
    source="gRPC, Core concepts, RPC life cycle: the status, sent when the handler ends, completes "
    "processing on the server side",
)
