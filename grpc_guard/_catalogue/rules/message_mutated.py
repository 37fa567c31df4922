"""The rule message-mutated: a message was changed after it was handed over, and before it was sent."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from ..rule import ANY, Evidence, Rule

MESSAGE_MUTATED = Rule(
    "message-mutated",
    severity="error",
    summary="a message was changed after a write() had taken it and before it was serialized",
    unguarded={
        "client aio": "the values at the moment of serialization are sent: if one message is used for "
        "each write(), some values are sent twice and others never, and the RPC ends OK",
        ANY: "cannot happen: the sync api, and servers, serialize a message when they take it",
    },
    remedy="make a new message for each write(), or write a copy of it: copy = Note(); "
    "copy.CopyFrom(note)",
    source="grpc-go, comment of ClientStream.SendMsg: it is not safe to modify the message after "
    "calling SendMsg",
)


@dataclasses.dataclass(frozen=True, slots=True)
class ChangedInQueue(Evidence):
    """A message, of the class called `name`, was changed while it waited in grpcio's queue."""

    rule = MESSAGE_MUTATED
    name: str

    def __str__(self) -> str:
        return (
            f"its message ({self.name}) was changed afterwards, while it waited in the queue that grpcio "
            "has for calls with interceptors: the values that are sent are not those that were written"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ChangedAtOnce(Evidence):
    """A message, of the class called `name`, was changed and written again without a turn of the loop."""

    rule = MESSAGE_MUTATED
    name: str

    def __str__(self) -> str:
        return (
            f"its message ({self.name}) was changed and written again at once, perhaps before it had "
            "left the queue that grpcio has for calls with interceptors: which values are sent is luck"
        )


class Delivery(Protocol):
    """A message that was changed while it waited for grpcio, or may have waited."""

    @property
    def rpc_is_over(self) -> bool: ...


def rpc_is_over(delivery: Delivery) -> bool:
    """The RPC has ended: the message will not be sent, and the program may know it."""
    return delivery.rpc_is_over


NOT_SENT = (rpc_is_over,)
