"""The rule use-after-fork: a channel made before fork() was used in the child, without gRPC's fork support."""

from __future__ import annotations

from ..rule import ANY, CLIENTS_ONLY, Rule

USE_AFTER_FORK = Rule(
    "use-after-fork",
    severity="warning",
    summary="a channel made before fork() was used in the child, without gRPC's fork support",
    unguarded={
        "client sync": "the RPC hangs: the threads that serve the channel stayed in the parent",
        "client aio": "the RPC hangs: the thread that serves the channel stayed in the parent",
        ANY: CLIENTS_ONLY,
    },
    remedy="make the channel in the child, after the fork; or start the parent with "
    "GRPC_ENABLE_FORK_SUPPORT=true (sync api)",
    source="gRPC, doc/fork_support.md",
)
