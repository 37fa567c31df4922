"""The rule channel-churn: many channels to one target were made in one place, on one loop, within a short time."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, CLIENTS_ONLY, Evidence, Rule

CHANNEL_CHURN = Rule(
    "channel-churn",
    severity="advice",
    summary="many channels to one target were made in one place, on one loop, within a short time",
    unguarded={
        "client sync": "each channel costs time, and a connection and a handshake unless it shares "
        "those of another open channel",
        "client aio": "each channel costs time, and a connection and a handshake unless it shares "
        "those of another open channel",
        ANY: CLIENTS_ONLY,
    },
    remedy="make one channel and share it: any number of threads (sync) or tasks of one loop "
    "(aio), and stubs of any services, may use it",
    source="gRPC, Performance Best Practices: always re-use stubs and channels when possible",
)


@dataclasses.dataclass(frozen=True, slots=True)
class ManyChannels(Evidence):
    """Too many channels to one target were made within `seconds`, the last of them by `maker`."""

    rule = CHANNEL_CHURN
    channels: int
    seconds: float
    maker: Party

    def __str__(self) -> str:
        within = words.duration(self.seconds)
        place = words.place(self.maker)
        return f"{self.channels} channels to this target within {within}, all made {place}"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    channel_churn: int = 10  # more channels than this from one place …
    channel_churn_seconds: float = 60.0  # … within this time


def wants_its_own_connection(options: str) -> bool:
    """The channel has its own subchannel pool: a program sets this for separate connections."""
    return "grpc.use_local_subchannel_pool" in options
