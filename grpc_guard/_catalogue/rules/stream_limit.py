"""The rule stream-limit: the live streams on one channel come near to the number that many peers carry."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..nouns import Party
from ..rule import ANY, CLIENTS_ONLY, Evidence, Rule

STREAM_LIMIT = Rule(
    "stream-limit",
    severity="advice",
    past=True,
    summary="the live streams on one channel come near to the number that many peers carry at once",
    unguarded={
        "client sync": "with a peer that has such a limit, further RPCs wait silently until "
        "a stream ends; servers of grpcio have none",
        "client aio": "with a peer that has such a limit, further RPCs wait silently until "
        "a stream ends; servers of grpcio have none",
        ANY: CLIENTS_ONLY,
    },
    remedy="end streams that are no longer needed, or spread streams over several channels (each "
    "with different channel arguments, or they share a connection)",
    source="gRPC, Performance Best Practices: each connection has a limit on concurrent streams, "
    "about 100",
)


@dataclasses.dataclass(frozen=True, slots=True)
class Crowded(Evidence):
    """Too many streams live on one channel, which `maker` made."""

    rule = STREAM_LIMIT
    streams: int
    maker: Party

    def __str__(self) -> str:
        return f"{self.streams} streams live on the channel, which was {words.made(self.maker)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Queued(Evidence):
    """RPCs on a channel that `maker` made wait, while its connection carries others."""

    rule = STREAM_LIMIT
    waiting: int
    carried: int
    maker: Party

    def __str__(self) -> str:
        waits = words.count(self.waiting, "RPC waits", "RPCs wait")
        return (
            f"{waits} until another ends, because the peer accepts no more than the {self.carried} that "
            f"are in progress; the channel was {words.made(self.maker)}"
        )


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    stream_limit: int = 90  # live streams on one channel


class NewChannel(Protocol):
    """A channel that was just made."""

    @property
    def is_limited(self) -> bool: ...


def registry_keeps_the_limit(channel: NewChannel) -> bool:
    """A registry keeps the streams on the channel below the limit: it makes another one in time."""
    return channel.is_limited
