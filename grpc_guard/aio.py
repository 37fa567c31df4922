"""grpc_guard for asyncio, as grpc.aio is to grpc."""

from ._registry.aio import ChannelRegistry
from ._sharing.aio_receiving import FanOut, Receiver
from ._sharing.aio_sending import Sender
from ._sharing.core import StreamEnded

__all__ = ["ChannelRegistry", "FanOut", "Receiver", "Sender", "StreamEnded"]
