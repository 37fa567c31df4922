"""Interceptors of servers that run each RPC by what a test makes of its handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from support.staging import path

RPC = path("Stream")


def methods(shape: str, behavior: Any) -> dict[str, Any]:
    """Return the handler of RPC, of this shape."""
    return {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(behavior)}


class Around(grpc.ServerInterceptor):
    """Runs each RPC by what `runs` makes of its handler."""

    def __init__(self, shape: str, runs: Callable[[Any], Any]) -> None:
        self._shape = shape
        self._runs = runs

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        behavior = getattr(continuation(details), self._shape)
        return getattr(grpc, f"{self._shape}_rpc_method_handler")(self._runs(behavior))


class AioAround(Around, grpc.aio.ServerInterceptor):
    """The same for asyncio."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        return super().intercept_service(lambda details: handler, details)
