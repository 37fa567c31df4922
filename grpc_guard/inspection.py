"""What a process says about its streams when it is asked: the records of snapshot(), and the service."""

from ._inspect.records import (
    ChannelSnapshot,
    Deduction,
    DirectionSnapshot,
    HandlerSnapshot,
    ServerSnapshot,
    Snapshot,
    StreamSnapshot,
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
    "add_servicer",
]
