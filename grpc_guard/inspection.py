"""The state of a process's streams: the records of snapshot(), and the service that sends them."""

from ._inspect.records import (
    ChannelSnapshot,
    Deduction,
    DirectionSnapshot,
    HandlerSnapshot,
    ServerSnapshot,
    Snapshot,
    StreamSnapshot,
    TaskSnapshot,
    ThreadSnapshot,
)
from ._inspect.service import add_servicer

__all__ = [
    "ChannelSnapshot",
    "Deduction",
    "DirectionSnapshot",
    "HandlerSnapshot",
    "ServerSnapshot",
    "Snapshot",
    "StreamSnapshot",
    "TaskSnapshot",
    "ThreadSnapshot",
    "add_servicer",
]
