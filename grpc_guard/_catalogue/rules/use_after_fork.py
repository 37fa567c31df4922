"""The rule use-after-fork: a channel made before fork() was used in the child, without gRPC's fork support."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, CLIENTS_ONLY, Evidence, Rule

USE_AFTER_FORK = Rule(
    "use-after-fork",
    severity="warning",
    summary="a channel made before fork() was used in the child, without gRPC's fork support",
    unguarded={
        "client sync": "the RPC hangs: the threads that serve the channel stayed in the parent",
        "client aio": "the RPC hangs: the thread that serves the channel stayed in the parent",
        ANY: CLIENTS_ONLY,
    },
    remedy="make the channel in the child, after the fork; or start the parent with "
    "GRPC_ENABLE_FORK_SUPPORT=true (sync api)",
    source="gRPC, doc/fork_support.md",
)


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelOfParent(Evidence):
    """The channel was made by `maker` in the parent of this process."""

    rule = USE_AFTER_FORK
    maker: Party

    def __str__(self) -> str:
        return (
            f"the channel is the parent process's, {words.made(self.maker)}, and gRPC's fork "
            "support is off (GRPC_ENABLE_FORK_SUPPORT)"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class LeaseOfParent(Evidence):
    """A lease of a registry was taken by `taker` in the parent of this process."""

    rule = USE_AFTER_FORK
    target: str
    taker: Party

    def __str__(self) -> str:
        return (
            f"{words.lease(self.target, self.taker)} in the parent of this process: "
            "a forked child takes leases of its own"
        )


def grpc_makes_channels_anew(fork_support: bool) -> bool:
    """GRPC's fork support is on: it makes the parent's channels anew in the child."""
    return fork_support
