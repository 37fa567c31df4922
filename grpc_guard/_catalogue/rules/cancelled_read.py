"""The rule cancelled-read: a stream was used again after one of its reads or writes had been cancelled."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..nouns import Party, Side
from ..rule import ANY, Evidence, Rule

CANCELLED_READ = Rule(
    "cancelled-read",
    severity="warning",
    past=True,
    summary="a stream was used again after one of its reads or writes had been cancelled",
    unguarded={
        "client aio": "cancelling one read or write cancels the whole RPC: the next read raises "
        "CancelledError, the next write InvalidStateError, and done_writing() does nothing",
        "server aio": "after a cancelled read, the next one sees a false end of stream, and a "
        "message that comes later is lost; after a cancelled write, the next one raises "
        "ExecuteBatchError",
        ANY: "cannot happen: sync operations are not cancelled one by one",
    },
    remedy="receive through grpc_guard.aio.Receiver and send through grpc_guard.aio.Sender, where "
    "time-outs and cancellations do no harm; or shield the read with asyncio.shield(), and await it "
    "later",
    source="grpcio, aio/_call.py: a cancelled read or write cancels the RPC",
)


@dataclasses.dataclass(frozen=True, slots=True)
class OperationCancelled(Evidence):
    """A task was cancelled inside an operation on the stream, which broke the stream."""

    rule = CANCELLED_READ
    cancelled: Party
    side: Side

    def __str__(self) -> str:
        effect = "ended the RPC" if self.side == Side.CLIENT else "broke the stream"
        ago = words.duration(self.cancelled.held_seconds)
        by = f"{words.party(self.cancelled)} {words.place(self.cancelled)}"
        return (
            f"its {self.cancelled.operation} was cancelled {ago} ago by way of {by}, which {effect}"
        )


class Cancellation(Protocol):
    """A CancelledError that has just ended an operation."""

    @property
    def tells_of_the_end(self) -> bool: ...

    @property
    def task_is_being_cancelled(self) -> bool: ...

    @property
    def has_broken_the_stream(self) -> bool: ...


def rpc_was_cancelled_before(cancellation: Cancellation) -> bool:
    """The RPC had been cancelled as a whole, which grpcio reports by this error."""
    return cancellation.tells_of_the_end


def nobody_cancels_the_task(cancellation: Cancellation) -> bool:
    """The task is not being cancelled: the error came from the end of the RPC."""
    return not cancellation.task_is_being_cancelled


def stream_goes_on(cancellation: Cancellation) -> bool:
    """Nothing broke: a client's write may be cancelled while it still waits for the connection."""
    return not cancellation.has_broken_the_stream


NOTHING_BROKEN = (rpc_was_cancelled_before, nobody_cancels_the_task, stream_goes_on)


class UseAfterCancellation(Protocol):
    """The use of a stream that a cancellation has broken."""

    @property
    def was_reported(self) -> bool: ...

    @property
    def is_given_up(self) -> bool: ...

    @property
    def half_closes_after_read(self) -> bool:
        """Whether a client calls done_writing() after a read that has ended the RPC."""


def was_reported(use: UseAfterCancellation) -> bool:
    """The cancellation has been reported already, once for all that it broke."""
    return use.was_reported


def is_given_up(use: UseAfterCancellation) -> bool:
    """cancel() was called, or the channel closed: a program learns of it by using the stream."""
    return use.is_given_up


def half_closes_after_read(use: UseAfterCancellation) -> bool:
    """done_writing() of an RPC that is over does nothing, and after a read nothing is lost by it."""
    return use.half_closes_after_read


LEGAL_USE = (was_reported, is_given_up)
HARMLESS_USE = (half_closes_after_read,)  # the next use may be another one
