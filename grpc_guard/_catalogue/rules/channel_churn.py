"""The rule channel-churn: many channels to one target were made in one place within a short time."""

from __future__ import annotations

from ..rule import ANY, CLIENTS_ONLY, Rule

CHANNEL_CHURN = Rule(
    "channel-churn",
    severity="warning",
    summary="many channels to one target were made in one place within a short time",
    unguarded={
        "client sync": "a connection and a handshake for each, where one would carry all RPCs",
        "client aio": "a connection and a handshake for each, where one would carry all RPCs",
        ANY: CLIENTS_ONLY,
    },
    remedy="make one channel and share it: any number of threads (sync) or tasks of one loop "
    "(aio), and stubs of any services, may use it",
    source="gRPC, Performance Best Practices: always re-use stubs and channels when possible",
)
