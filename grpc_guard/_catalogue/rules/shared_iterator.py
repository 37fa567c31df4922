"""The rule shared-iterator: one generator feeds two RPCs that are alive at the same time."""

from __future__ import annotations

from ..rule import ANY, Rule

SHARED_ITERATOR = Rule(
    "shared-iterator",
    severity="error",
    summary="one generator feeds two RPCs that are alive at the same time",
    unguarded={
        "client sync": "one of the RPCs fails with UNKNOWN 'Exception iterating requests!', or "
        "each silently gets a part of the messages",
        "client aio": "the second RPC is cancelled without a hint, or each RPC silently gets a "
        "part of the messages",
        ANY: "one of the RPCs fails, or each silently gets a part of the messages",
    },
    remedy="make a new generator for each RPC, or share an iterator that is safe to share (an "
    "object around a queue)",
    source="Python reference, generators: a generator must not be advanced while it runs",
)
