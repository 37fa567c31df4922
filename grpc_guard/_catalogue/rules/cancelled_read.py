"""The rule cancelled-read: a stream was used again after one of its reads or writes had been cancelled."""

from __future__ import annotations

from ..rule import ANY, Rule

CANCELLED_READ = Rule(
    "cancelled-read",
    severity="warning",
    summary="a stream was used again after one of its reads or writes had been cancelled",
    unguarded={
        "client aio": "cancelling one read or write cancels the whole RPC: reading on raises "
        "CancelledError, writing on InvalidStateError, and done_writing() does nothing",
        "server aio": "the stream is poisoned: after a read, the next one is told that the stream "
        "has ended, and a message that is still to come is lost; after a write, the next one "
        "raises ExecuteBatchError",
        ANY: "cannot happen: sync operations are not cancelled one by one",
    },
    remedy="let a task of its own read and hand the messages on through an asyncio.Queue, and "
    "time out the wait for the queue; or shield the read with asyncio.shield() and keep it",
    source="grpcio, aio/_call.py: a cancelled read or write cancels the RPC",
)
