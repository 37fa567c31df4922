"""The rule handler-returned: a server stream object was used after its handler had ended."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from ..rule import ANY, Evidence, Rule

HANDLER_RETURNED = Rule(
    "handler-returned",
    severity="error",
    summary="a server stream object was used after its handler had ended",
    unguarded={
        "server sync": "a silent end of stream, or a value of a call that no longer exists",
        "server aio": "'RPC already finished', a silent end of stream, and a crash of the whole "
        "process for peer(), auth_context(), peer_identities() and peer_identity_key()",
        ANY: "cannot happen: only servers have handlers",
    },
    remedy="join the threads and await the tasks that use the stream before the handler returns; "
    "copy what they need of the context beforehand",
    source="gRPC, Core concepts, RPC life cycle: the status, sent when the handler ends, completes "
    "processing on the server side",
)


@dataclasses.dataclass(frozen=True, slots=True)
class HandlerEnded(Evidence):
    """The handler of the stream object has ended."""

    rule = HANDLER_RETURNED

    def __str__(self) -> str:
        return "its handler has ended"


class LateUse(Protocol):
    """The use of a server stream object whose handler has ended."""

    @property
    def in_done_callback(self) -> bool: ...

    @property
    def grpc_asks(self) -> bool: ...

    @property
    def reaches_grpc(self) -> bool: ...

    @property
    def interceptor_goes_on(self) -> bool: ...


def is_in_done_callback(use: LateUse) -> bool:
    """A done-callback runs: it may still read the state of the stream."""
    return use.in_done_callback


def grpc_asks_once_more(use: LateUse) -> bool:
    """The handler gave its requests to another call: gRPC reads on, and so learns of their end."""
    return use.grpc_asks


def grpc_is_not_asked(use: LateUse) -> bool:
    """An interceptor has read all requests, and has given the handler an iterator of its list."""
    return not use.reaches_grpc


def interceptor_goes_on(use: LateUse) -> bool:
    """An interceptor keeps the RPC open: gRPC has not got it back, and sends no status yet."""
    return use.interceptor_goes_on


# In this order: to search for an interceptor takes long.
LEGAL_LATE = (is_in_done_callback, grpc_asks_once_more, grpc_is_not_asked, interceptor_goes_on)
