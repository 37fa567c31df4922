"""The rule stream-limit: the live streams on one channel come near to what its connection carries."""

from __future__ import annotations

from ..rule import ANY, CLIENTS_ONLY, Rule

STREAM_LIMIT = Rule(
    "stream-limit",
    severity="warning",
    summary="the live streams on one channel come near to what its connection carries",
    unguarded={
        "client sync": "further RPCs wait without a word until a stream ends",
        "client aio": "further RPCs wait without a word until a stream ends",
        ANY: CLIENTS_ONLY,
    },
    remedy="end streams that are done, or spread them over several channels (each with channel "
    "arguments of its own, or they share a connection)",
    source="gRPC, Performance Best Practices: each connection has a limit on concurrent streams, "
    "about 100",
)
