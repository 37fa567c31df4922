"""The rule abandoned-handler: a handler stood still though its RPC had been over for seconds."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, Evidence, Rule

ABANDONED_HANDLER = Rule(
    "abandoned-handler",
    severity="warning",
    summary="a handler stood still though its RPC had been over for seconds",
    unguarded={
        "server sync": "each client that goes away keeps a thread of the pool, until none is left and "
        "the server answers no RPC; the process cannot exit, because it waits for these threads",
        ANY: "not checked: only threads show that they stand still",
    },
    remedy="wake the handler when its RPC ends, from context.add_callback() (by an end marker in the "
    "queue that it waits for), or wait with a timeout and check context.is_active()",
    source="grpcio, _server.py: a cancelled RPC does not interrupt its handler; grpc/grpc issues 11157 "
    "and 22874",
)


@dataclasses.dataclass(frozen=True, slots=True)
class StoodStill(Evidence):
    """The handler of `handler` has stood at its line for `seconds`, and its RPC is over."""

    rule = ABANDONED_HANDLER
    seconds: float
    handler: Party

    def __str__(self) -> str:
        return (
            f"its RPC is over, and {words.party(self.handler)} has stood still for "
            f"{words.duration(self.seconds)} since, {words.place(self.handler)}"
        )


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    abandoned_handler_seconds: float = 5.0  # how long a handler has stood still since its RPC ended


def still_works(thread_time: int | None, thread_time_before: int | None) -> bool:
    """Its thread has run since, or that is unknown: it may be ending, or polls now and then."""
    return thread_time is None or thread_time != thread_time_before
