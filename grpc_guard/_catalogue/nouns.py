"""The field's nouns: the way of a direction, side, api, the subject of a finding, a party to it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Protocol


class Way(enum.StrEnum):
    """Whether a side reads or writes the messages of a direction."""

    READ = "read"
    WRITE = "write"


class Side(enum.StrEnum):
    """The side of an RPC."""

    CLIENT = "client"
    SERVER = "server"


class Api(enum.StrEnum):
    """The api by which a side speaks gRPC: ``grpc`` or ``grpc.aio``."""

    SYNC = "sync"
    AIO = "aio"


# Short names for what runs with every RPC: a global is found faster than an attribute.
READ, WRITE = Way.READ, Way.WRITE
CLIENT, SERVER = Side.CLIENT, Side.SERVER
SYNC, AIO = Api.SYNC, Api.AIO


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about: an RPC, or a channel by its target, on one side and api."""

    rpc: str
    side: Side
    api: Api

    def __str__(self) -> str:
        return f"{self.rpc} ({self.side}, {self.api})"


class Line(Protocol):
    """A line of the program."""

    @property
    def file(self) -> str: ...

    @property
    def line(self) -> int: ...


class Party(Protocol):
    """The party that did something, its operation, for how long or how long ago, and where."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def operation(self) -> str: ...

    @property
    def held_seconds(self) -> float | None: ...

    @property
    def site(self) -> Line | None: ...
