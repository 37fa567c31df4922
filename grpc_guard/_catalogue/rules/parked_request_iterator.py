"""The rule parked-request-iterator: gRPC's thread was still blocked in a request iterator after its RPC had ended."""

from __future__ import annotations

from ..rule import ANY, Rule

PARKED_REQUEST_ITERATOR = Rule(
    "parked-request-iterator",
    severity="warning",
    summary="gRPC's thread was still blocked in a request iterator after its RPC had ended",
    unguarded={
        "client sync": "a thread is leaked by each such RPC",
        ANY: "cannot happen: only the sync api advances request iterators in a thread",
    },
    remedy="let the iterator end when the RPC does: put an end marker in its queue from "
    "call.add_callback(), or wait with a timeout",
    source="grpcio, _channel.py: a thread of its own consumes the request iterator",
)
