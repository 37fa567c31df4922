"""The rule wrong-loop: an aio object was used from another loop or thread than its own."""

from __future__ import annotations

from ..rule import ANY, Rule

WRONG_LOOP = Rule(
    "wrong-loop",
    severity="error",
    summary="an aio object was used from another loop or thread than its own",
    unguarded={
        ANY: "'attached to a different loop', 'Event loop is closed', a hang, or corrupted state, "
        "depending on timing",
    },
    remedy="use the object on its own loop: make one channel per loop, or hand the work over with "
    "asyncio.run_coroutine_threadsafe(coroutine, loop)",
    source="grpcio, gRPC AsyncIO API, Caveats: objects may only be used on the thread on which "
    "they were created",
)
