"""The rule blocked-grpc-thread: the program's code waited on a thread that gRPC needs."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..rule import ANY, Evidence, Rule

BLOCKED_GRPC_THREAD = Rule(
    "blocked-grpc-thread",
    severity="error",
    summary="the program's code waited on a thread that gRPC needs",
    unguarded={
        "client sync": "everything on the channel stands still, deadlines included: one thread delivers "
        "all its events, and runs the done-callbacks",
        "server sync": "no client of the server gets an answer in the meantime: one thread takes in all "
        "RPCs, and runs the callbacks of contexts",
        ANY: "cannot happen: callbacks run on the event loop",
    },
    remedy="let a callback hand the work to a thread (pool.submit) and return at once",
    source="grpcio, _channel.py, channel_spin, and _server.py, _serve; googleapis/python-pubsub issues "
    "74 and 93",
)


@dataclasses.dataclass(frozen=True, slots=True)
class WaitsForItself(Evidence):
    """A read begins in a callback, on the one thread that could deliver the message."""

    rule = BLOCKED_GRPC_THREAD

    def __str__(self) -> str:
        return (
            "it would wait, in a callback of the same channel, on the one thread that delivers the "
            "channel's events, and could never end"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class SlowCallback(Evidence):
    """A callback ran for `seconds` on a thread that others wait for."""

    rule = BLOCKED_GRPC_THREAD
    seconds: float

    @property
    def severity(self) -> str:
        return "warning"

    def __str__(self) -> str:
        return f"the callback ran for {words.duration(self.seconds)} on a thread of gRPC's"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    slow_callback_seconds: float = 2.0  # a callback that runs longer holds up a thread of gRPC's


class Reading(Protocol):
    """A read that is about to begin in a callback."""

    @property
    def rpc_is_over(self) -> bool: ...


def rpc_is_over(reading: Reading) -> bool:
    """The RPC has ended: its messages are there, and the read does not wait."""
    return reading.rpc_is_over
