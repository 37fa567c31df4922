"""The rule starved-server: every thread of a server was held by a stream while another RPC waited."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from .. import words
from ..nouns import Party
from ..rule import ANY, SERVERS_ONLY, Evidence, Rule

STARVED_SERVER = Rule(
    "starved-server",
    severity="warning",
    summary="every thread of a server was held by a stream while another RPC waited",
    unguarded={
        "server sync": "new RPCs wait until a stream ends: it holds a thread of the pool for as "
        "long as it lives",
        "server aio": "sync handlers wait for a thread of the pool until the stream of another one "
        "ends; coroutines go on",
        ANY: SERVERS_ONLY,
    },
    remedy="give the server more threads than there can be streams, end idle streams, or serve "
    "with grpc.aio and coroutines, where a stream is a task",
    source="gRPC, Performance Best Practices, Python: streaming RPCs create extra threads",
)


_SHOWN = 5  # of many that could be named


@dataclasses.dataclass(frozen=True, slots=True)
class Starved(Evidence):
    """Streams hold all threads of a server, those that are `held`, while RPCs are `waiting`."""

    rule = STARVED_SERVER
    held: Sequence[Party]
    waiting: int

    def __str__(self) -> str:
        shown = [_holding(party) for party in self.held[:_SHOWN]]
        more = [] if len(self.held) <= _SHOWN else [f"and {len(self.held) - _SHOWN} more"]
        return (
            f"{self.waiting} waiting while streams hold all {len(self.held)} threads: "
            f"{'; '.join(shown + more)}"
        )


def _holding(party: Party) -> str:
    held = words.duration(party.held_seconds)
    place = "" if party.site is None else f" {words.place(party)}"
    return f"{party.operation} in {words.party(party)} for {held}{place}"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    starved_server_seconds: float = 1.0  # how long all threads have been held


def nobody_waits(seen: Starved) -> bool:
    """All threads are held, and no RPC waits for one: the server is full, and not starved."""
    return seen.waiting == 0
