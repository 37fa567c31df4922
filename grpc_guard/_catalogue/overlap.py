"""What concurrent-read and concurrent-write share: their evidence, and when there is no finding."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from . import words
from .nouns import Party
from .rule import Evidence


@dataclasses.dataclass(frozen=True, slots=True)
class Overlap(Evidence):
    """An operation met the operation of `owner`, which is None if it has left and is not known.

    `probe` says what the probe did. `waits`: the owner waits for its turn too, and comes first.
    `interrupts`: the caller interrupts an operation of the same thread.
    """

    owner: Party | None
    probe: str = ""
    waits: bool = False
    interrupts: bool = False

    def __str__(self) -> str:
        if self.owner is None:
            text = "another operation had the direction and has just left it"
        else:
            held = words.duration(self.owner.held_seconds)
            been = "waiting for its turn in" if self.waits else "in"
            text = f"{words.party(self.owner)} has been {been} {self.owner.operation} for {held}"
        if self.interrupts:
            text += ", and the caller interrupts an operation of its own thread on this stream"
        return text + self.probe


class Meeting(Protocol):
    """An operation that met another in its direction. The owner is searched at the first access."""

    @property
    def operation(self) -> str: ...

    @property
    def owner(self) -> Party | None: ...

    @property
    def owner_is_being_cancelled(self) -> bool: ...

    @property
    def rpc_is_over(self) -> bool: ...

    @property
    def rpcs_may_share(self) -> bool: ...

    @property
    def interceptor_holds_it(self) -> bool: ...


def rpc_is_over(meeting: Meeting) -> bool:
    """The RPC has ended: both operations only have to return."""
    return meeting.rpc_is_over


def rpcs_may_share(meeting: Meeting) -> bool:
    """Interceptors may start several RPCs with one request iterator, and each sends by itself.

    Who may advance the iterator is up to its author, as with any object around a queue. A generator
    serves one caller alone.
    """
    return meeting.rpcs_may_share


def owner_is_being_cancelled(meeting: Meeting) -> bool:
    """The owner is a task whose cancellation is on its way: it ends the operation, or the RPC."""
    return meeting.owner_is_being_cancelled


def both_half_close(meeting: Meeting) -> bool:
    """Grpcio makes done_writing() idempotent: the second one has nothing to do."""
    owner = meeting.owner
    return (
        meeting.operation == "done_writing"
        and owner is not None
        and owner.operation == meeting.operation
    )


def interceptor_holds_it(meeting: Meeting) -> bool:
    """An interceptor of the server has what the handler has yielded: gRPC does not write it yet."""
    return meeting.interceptor_holds_it


# In this order: searching for the owner takes long.
NO_CONFLICT = (
    rpc_is_over,
    rpcs_may_share,
    owner_is_being_cancelled,
    both_half_close,
    interceptor_holds_it,
)
