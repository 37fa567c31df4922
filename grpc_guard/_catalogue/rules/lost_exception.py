"""The rule lost-exception: an exception of the program vanished in grpcio."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..nouns import Party
from ..rule import ANY, Evidence, Rule

LOST_EXCEPTION = Rule(
    "lost-exception",
    severity="warning",
    summary="an exception of the program vanished in grpcio",
    unguarded={
        "client aio": "the RPC is cancelled, and the code that awaits it gets a bare CancelledError; "
        "grpcio logs the exception of the request iterator only at DEBUG",
        "server aio": "if a handler ends with a CancelledError that does not come from its own RPC, "
        "it sends no status: the client waits until its deadline, or for ever",
        ANY: "cannot happen: grpcio logs what request iterators and handlers raise",
    },
    remedy="catch the exception: in a request iterator, end the RPC with call.cancel() and pass the "
    "exception to the code that awaits it; in a handler, catch the CancelledError of the task that it "
    "awaited and end the RPC with a status (await context.abort(...))",
    source="grpcio, aio/_call.py, _consume_request_iterator, and "
    "_cython/_cygrpc/aio/server.pyx.pxi, _handle_exceptions",
)


@dataclasses.dataclass(frozen=True, slots=True)
class IteratorRaised(Evidence):
    """A request iterator raised an exception called `name` in `raiser`, which ended its RPC."""

    rule = LOST_EXCEPTION
    name: str
    raiser: Party

    def __str__(self) -> str:
        return (
            f"the request iterator raised {self.name} {words.place(self.raiser)}, which cancelled the "
            "RPC silently"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class HandlerCancelled(Evidence):
    """A CancelledError from what the handler awaited, in `raiser`, ended the handler."""

    rule = LOST_EXCEPTION
    raiser: Party

    def __str__(self) -> str:
        return (
            f"a CancelledError ended the handler {words.place(self.raiser)}, although the RPC was not "
            "cancelled: the client gets no status"
        )


class Loss(Protocol):
    """An exception that has just left the code of the program, on its way into grpcio."""

    @property
    def task_is_being_cancelled(self) -> bool: ...

    @property
    def is_of_grpcio(self) -> bool: ...

    @property
    def rpc_is_over(self) -> bool: ...


class Fate(Protocol):
    """What has become of such an exception where an interceptor stood in its way."""

    @property
    def reached_grpc(self) -> bool: ...


def task_is_being_cancelled(loss: Loss) -> bool:
    """The task is being cancelled: the exception is its normal end."""
    return loss.task_is_being_cancelled


def is_of_grpcio(loss: Loss) -> bool:
    """No line of the program raised it: it is the end of another RPC's iterator, for example."""
    return loss.is_of_grpcio


def rpc_is_over(loss: Loss) -> bool:
    """The RPC has ended: no code waits for its result, so nothing is lost with the exception."""
    return loss.rpc_is_over


def interceptor_handled(fate: Fate) -> bool:
    """An interceptor has handled it: the RPC goes on, or has the status that it was given."""
    return not fate.reached_grpc


# In this order: whether the client of a handler has left takes long to tell.
NOT_LOST = (task_is_being_cancelled, is_of_grpcio, rpc_is_over)
HANDLED = (interceptor_handled,)
