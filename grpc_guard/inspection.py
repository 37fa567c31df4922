"""What a process tells of its streams when it is asked: the records of snapshot()."""

from ._inspect.records import (
    ChannelSnapshot,
    Deduction,
    DirectionSnapshot,
    HandlerSnapshot,
    ServerSnapshot,
    Snapshot,
    StreamSnapshot,
)

__all__ = [
    "ChannelSnapshot",
    "Deduction",
    "DirectionSnapshot",
    "HandlerSnapshot",
    "ServerSnapshot",
    "Snapshot",
    "StreamSnapshot",
]
