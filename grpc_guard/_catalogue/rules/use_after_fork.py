"""The rule use-after-fork: a channel made before fork(), or grpc.aio in use then, was used in the child."""

from __future__ import annotations

import dataclasses

from .. import words
from ..nouns import Party
from ..rule import ANY, CLIENTS_ONLY, Evidence, Rule

USE_AFTER_FORK = Rule(
    "use-after-fork",
    severity="warning",
    past=True,
    summary="a channel made before fork(), or grpc.aio in use then, was used in the child",
    unguarded={
        "client sync": "the RPC hangs, whatever its timeout, or fails with UNAVAILABLE 'sendmsg: "
        "Wrong file descriptor generation', or works, by luck",
        "client aio": "the RPC hangs, or the process dies of SIGABRT or SIGSEGV: on the parent's "
        "channel, and on every channel that the child makes while one of the parent exists",
        ANY: CLIENTS_ONLY,
    },
    remedy="fork before the process makes its first channel, or start child processes by spawn or "
    "forkserver; a sync channel that a forked child makes needs a connection of its own: "
    "[('grpc.use_local_subchannel_pool', 1)]",
    source="gRPC, doc/fork_support.md",
)

AIO_FORKS = (
    "fork before the process makes its first channel or server of grpc.aio, or start child processes "
    "by spawn or forkserver: the state of grpc.aio belongs to the process, and gRPC's fork support "
    "does not cover it"
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
class AioOfParent(Evidence):
    """The process was forked while its parent used grpc.aio: `maker` made the channel or server."""

    rule = USE_AFTER_FORK
    maker: Party | None
    is_own: bool  # the RPC starts on a channel that this process has made itself

    @property
    def remedy(self) -> str:
        return AIO_FORKS

    def __str__(self) -> str:
        of_parent = "" if self.maker is None else f", {words.made(self.maker)},"
        if not self.is_own:
            return f"the channel is the parent process's{of_parent} and grpc.aio does not work after a fork"
        return (
            f"a channel or server of the parent process{of_parent} still exists, and as long as it does, "
            "grpc.aio does not work in a forked child, on any channel"
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
            "a forked child must take its own lease"
        )


def grpc_makes_channels_anew(fork_support: bool) -> bool:
    """GRPC's fork support is on: it makes new connections for the parent's channels in the child."""
    return fork_support
