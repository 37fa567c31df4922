"""The rule closed-channel: an RPC was started on a channel that is closed."""

from __future__ import annotations

from ..rule import ANY, CLIENTS_ONLY, Rule

CLOSED_CHANNEL = Rule(
    "closed-channel",
    severity="warning",
    summary="an RPC was started on a channel that is closed",
    unguarded={
        "client sync": "'ValueError: Cannot invoke RPC on closed channel!', which says neither "
        "who closed the channel nor where it was made",
        "client aio": "'UsageError: Channel is closed.', which says neither who closed the "
        "channel nor where it was made",
        ANY: CLIENTS_ONLY,
    },
    remedy="let the channel live as long as the stubs made from it: close it where the last of "
    "them is given up",
    source="grpcio, docstring of Channel.close: no RPC may be invoked on a closed channel",
)
