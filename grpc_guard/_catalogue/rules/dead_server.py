"""The rule dead-server: a server that was not stopped no longer serves."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..nouns import Party
from ..rule import ANY, Evidence, Rule

DEAD_SERVER = Rule(
    "dead-server",
    severity="error",
    summary="a server that was not stopped no longer serves",
    unguarded={
        "server sync": "the server takes connections, and every RPC runs into its deadline, or waits for "
        "ever; stop() never returns",
        ANY: "cannot happen: only a server of the sync api has a thread that serves",
    },
    remedy="give the server its own pool, and shut the pool down after the server has stopped: "
    "server.stop(grace).wait(), then pool.shutdown()",
    source="grpcio, _server.py, _serve: the thread that serves ends with the first exception of submit()",
)


@dataclasses.dataclass(frozen=True, slots=True)
class ServingThreadEnded(Evidence):
    """The thread that serves has ended by an exception called `name`; the server is `maker`'s."""

    rule = DEAD_SERVER
    name: str
    pool_is_shut: bool
    maker: Party | None

    def __str__(self) -> str:
        cause = ": the pool of the server had been shut down" if self.pool_is_shut else ""
        made = "" if self.maker is None else f"; the server was {words.made(self.maker)}"
        return f"the thread that serves all RPCs has ended by {self.name}{cause}{made}"


class Server(Protocol):
    """A server whose serving thread has just ended."""

    @property
    def was_stopped(self) -> bool: ...

    @property
    def interpreter_ends(self) -> bool: ...


def was_stopped(server: Server) -> bool:
    """The program has stopped the server: it is not expected to serve."""
    return server.was_stopped


def interpreter_ends(server: Server) -> bool:
    """The interpreter shuts down all pools: the process ends, and the server with it."""
    return server.interpreter_ends


NOT_DEAD = (was_stopped, interpreter_ends)
