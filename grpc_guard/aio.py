"""grpc_guard for asyncio, as grpc.aio is to grpc."""

from ._registry.aio import ChannelRegistry

__all__ = ["ChannelRegistry"]
