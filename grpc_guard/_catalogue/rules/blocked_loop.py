"""The rule blocked-loop: a blocking read stood in the way of the event loop that runs on its thread."""

from __future__ import annotations

from ..rule import ANY, Rule

BLOCKED_LOOP = Rule(
    "blocked-loop",
    severity="warning",
    summary="a blocking read stood in the way of the event loop that runs on its thread",
    unguarded={
        "client sync": "the whole event loop stands still until the message comes",
        "server sync": "the whole event loop stands still until the message comes",
        ANY: "cannot happen: asyncio's operations wait without blocking the loop",
    },
    remedy="use grpc.aio on an event loop, or read in a thread (asyncio.to_thread)",
    source="Python documentation, Developing with asyncio, Running Blocking Code",
)
