"""The rule parked-request-iterator: gRPC's thread was still blocked in a request iterator after its RPC had ended."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, Evidence, Rule

PARKED_REQUEST_ITERATOR = Rule(
    "parked-request-iterator",
    severity="warning",
    summary="gRPC's thread was still blocked in a request iterator after its RPC had ended",
    unguarded={
        "client sync": "a thread is leaked by each such RPC",
        ANY: "cannot happen: only the sync api advances request iterators in a thread",
    },
    remedy="let the iterator end when the RPC does: a grpc_guard.Sender does by itself; a queue needs "
    "an end marker from call.add_callback(), or a wait with a timeout",
    source="grpcio, _channel.py: a thread of its own consumes the request iterator",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Parked(Evidence):
    """The thread of gRPC `inside` is in the request iterator of an RPC that is over."""

    rule = PARKED_REQUEST_ITERATOR
    inside: Party
    starter: Party

    def __str__(self) -> str:
        held = words.duration(self.inside.held_seconds)
        return (
            f"the RPC is over, and {words.party(self.inside)} has been in its request iterator "
            f"for {held}; {words.made(self.starter, 'started')}"
        )


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    parked_iterator_seconds: float = 0.5  # grace for an iterator to end with its RPC
