"""Two tasks write to one call."""

import asyncio
from typing import Any

import grpc

from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving


async def write(chat: Any, message: str) -> None:
    for _ in range(200):
        await chat.write(RouteNote(message=message))


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat = stub.RouteChat(timeout=20)
        writers = [
            asyncio.create_task(write(chat, "snow on the pass"), name="writer-1"),
            asyncio.create_task(write(chat, "fog at the lake"), name="writer-2"),
        ]
        for outcome in await asyncio.gather(*writers, return_exceptions=True):
            if isinstance(outcome, grpc.aio.AioRpcError):
                print(outcome.code(), outcome.details())
                print(outcome.debug_error_string())
            elif outcome is not None:
                first_line, *_ = str(outcome).splitlines()
                print(f"{type(outcome).__name__}: {first_line}")
        chat.cancel()


asyncio.run(main())
