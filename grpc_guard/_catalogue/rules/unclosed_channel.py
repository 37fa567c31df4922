"""The rule unclosed-channel: a channel had not been closed when the program or the test ended."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..leak import and_others
from ..nouns import Party
from ..rule import ANY, CLIENTS_ONLY, Evidence, Rule

UNCLOSED_CHANNEL = Rule(
    "unclosed-channel",
    severity="warning",
    summary="a channel had not been closed when the program or the test ended",
    unguarded={
        "client sync": "its connection and its threads are leaked",
        "client aio": "its connection is leaked",
        ANY: CLIENTS_ONLY,
    },
    remedy="close the channel, best by a with or async with statement around its use; or make "
    "one for the whole process, at module level",
    source="grpcio, docstring of Channel.close: releases all resources held by the channel",
)


@dataclasses.dataclass(frozen=True, slots=True)
class NeverClosed(Evidence):
    """The channel that `maker` made was not closed; `others` counts more of them from that line."""

    rule = UNCLOSED_CHANNEL
    maker: Party
    others: int

    def __str__(self) -> str:
        return and_others(f"never closed; {words.made(self.maker)}", self.others)


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseDropped(Evidence):
    """A lease of a registry, which `taker` took, was collected without having been closed."""

    rule = UNCLOSED_CHANNEL
    taker: Party

    def __str__(self) -> str:
        return f"a lease taken {words.place_and_party(self.taker)} was dropped without close()"


class OpenChannel(Protocol):
    """A channel that is open."""

    @property
    def is_pooled(self) -> bool: ...


def is_of_registry(channel: OpenChannel) -> bool:
    """A registry made it, and closes it; or grpcio did, for one-shot calls of grpc.experimental."""
    return channel.is_pooled
