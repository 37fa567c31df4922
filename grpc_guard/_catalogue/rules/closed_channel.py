"""The rule closed-channel: an RPC was started on a channel that is closed."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, CLIENTS_ONLY, Evidence, Rule

CLOSED_CHANNEL = Rule(
    "closed-channel",
    severity="warning",
    past=True,
    summary="an RPC was started on a channel that is closed",
    unguarded={
        "client sync": "'ValueError: Cannot invoke RPC on closed channel!', which says neither "
        "who closed the channel nor where it was made; subscribe() returns, a thread of gRPC's dies of "
        "that error, and channel_ready_future() waits for ever",
        "client aio": "'UsageError: Channel is closed.', which says neither who closed the "
        "channel nor where it was made",
        ANY: CLIENTS_ONLY,
    },
    remedy="keep the channel open as long as the stubs made from it are used, and close it after "
    "the last of them",
    source="grpcio, docstring of Channel.close: no RPC may be invoked on a closed channel",
)


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelClosed(Evidence):
    """The channel was closed, by `closing` if that is known."""

    rule = CLOSED_CHANNEL
    maker: Party
    closing: Party | None

    def __str__(self) -> str:
        made = words.made(self.maker)
        if self.closing is None:
            return f"the channel is closed; it was {made}"
        ago = words.duration(self.closing.held_seconds)
        by = f"{words.party(self.closing)} {words.place(self.closing)}"
        return f"the channel was closed {ago} ago by {by}, and {made}"


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseClosed(Evidence):
    """A lease of a registry has ended: it was closed by `ending`, or its loop was (None)."""

    rule = CLOSED_CHANNEL
    target: str
    taker: Party
    ending: Party | None

    def __str__(self) -> str:
        if self.ending is None:
            end = "on an event loop that is closed"
        else:
            end = f"and closed {words.place_and_party(self.ending)}"
        return f"{words.lease(self.target, self.taker)} {end}"
