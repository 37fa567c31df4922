"""The rule starved-server: every thread of a server was held by a handler while another RPC waited."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .. import words
from ..nouns import Party
from ..rule import ANY, SERVERS_ONLY, Evidence, Rule

STARVED_SERVER = Rule(
    "starved-server",
    severity="warning",
    summary="every thread of a server was held by a handler while another RPC waited",
    unguarded={
        "server sync": "new RPCs wait until a handler returns: a handler holds its thread of the pool "
        "as long as it runs, even if its RPC is over",
        "server aio": "sync handlers wait for a thread of the pool until another one returns; "
        "coroutines continue",
        ANY: SERVERS_ONLY,
    },
    remedy="give the server more threads than there can be handlers at once, end idle streams, or "
    "serve with grpc.aio and coroutines, where a stream is a task",
    source="gRPC, Performance Best Practices, Python: streaming RPCs create extra threads",
)


# If handlers serve RPCs that are over, more threads would only be used up later.
WAKE_UP = (
    "let a handler end with its RPC: wake it from context.add_callback(), by an end marker in the "
    "queue that it waits for, or wait with a timeout and check context.is_active()"
)

_SHOWN = 5  # handlers that a report names


@dataclasses.dataclass(frozen=True, slots=True)
class Starved(Evidence):
    """Handlers have all threads of a server, `held`, while the RPCs `waiting` wait.

    `over` has the same length: whether the RPC of each handler has ended already.
    """

    rule = STARVED_SERVER
    held: Sequence[Party]
    waiting: int
    over: Sequence[bool] = ()

    @property
    def remedy(self) -> str:
        return WAKE_UP if any(self.over) else self.rule.remedy

    def __str__(self) -> str:
        over = [*self.over, *[False] * (len(self.held) - len(self.over))]
        shown = [_holding(*one) for one in zip(self.held[:_SHOWN], over, strict=False)]
        more = [] if len(self.held) <= _SHOWN else [f"and {len(self.held) - _SHOWN} more"]
        ended = f", {sum(over)} of them for RPCs that are over" if any(over) else ""
        threads = "the only thread" if len(self.held) == 1 else f"all {len(self.held)} threads"
        return (
            f"{self.waiting} waiting while handlers hold {threads}{ended}: "
            f"{'; '.join(shown + more)}"
        )


def _holding(party: Party, is_over: bool) -> str:
    held = words.duration(party.held_seconds)
    place = "" if party.site is None else f" {words.place(party)}"
    over = " (its RPC is over)" if is_over else ""
    return f"{party.operation} in {words.party(party)} for {held}{place}{over}"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    starved_server_seconds: float = 1.0  # how long all threads have been in use


def nobody_waits(seen: Starved) -> bool:
    """All threads are in use, and no RPC waits for one: the server is full, but not starved."""
    return seen.waiting == 0
