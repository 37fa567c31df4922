"""Calls and contexts that do nothing: what is left to measure is the guard.

They pass for calls of gRPC, so that ``grpc_guard.wrap()`` takes them; like grpcio's own calls
they are Python objects with Python methods.
"""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio


@grpc.Call.register
class SyncCall:
    """The response iterator of a sync RPC that never ends."""

    def __iter__(self) -> SyncCall:
        return self

    def __next__(self) -> bytes:
        return b""

    def is_active(self) -> bool:
        return True


@grpc.aio.StreamStreamCall.register
class AioCall:
    """An asyncio RPC that answers at once and never ends; a handler's context and requests too."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        return b""

    async def write(self, request: bytes) -> None:
        pass

    async def done_writing(self) -> None:
        pass

    def __aiter__(self) -> AioCall:
        return self

    async def __anext__(self) -> bytes:
        return b""

    def done(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False
