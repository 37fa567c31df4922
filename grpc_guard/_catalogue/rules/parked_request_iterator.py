"""The rule parked-request-iterator: a request iterator was still being advanced after its RPC had ended."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, Evidence, Rule

PARKED_REQUEST_ITERATOR = Rule(
    "parked-request-iterator",
    severity="warning",
    summary="a request iterator was still being advanced after its RPC had ended",
    unguarded={
        "client sync": "each such RPC leaks a thread",
        "client aio": "grpcio does not end the iterator: each such RPC leaks a task and a generator "
        "('Task was destroyed but it is pending'), and an iterator that wakes up later takes one more "
        "item, which is lost",
        ANY: "cannot happen: only clients have request iterators",
    },
    remedy="let the iterator end when the RPC does: a grpc_guard.Sender does so automatically; a queue "
    "needs an end marker from call.add_callback() (aio: call.add_done_callback()), or a wait with a "
    "timeout",
    source="grpcio, _channel.py: a thread of its own consumes the request iterator; aio/_call.py, "
    "_consume_request_iterator: a task does, and only cancel() tells it",
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


@dataclasses.dataclass(frozen=True, slots=True)
class TookOneMore(Evidence):
    """A request iterator gave gRPC one more message `seconds` after its RPC had ended."""

    rule = PARKED_REQUEST_ITERATOR
    seconds: float
    starter: Party

    def __str__(self) -> str:
        return (
            f"the RPC has been over for {words.duration(self.seconds)}, and its request iterator has "
            f"given one more message, which is lost; {words.made(self.starter, 'started')}"
        )


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    parked_iterator_seconds: float = 0.5  # grace for an iterator to end with its RPC
