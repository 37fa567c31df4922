"""Two tasks read one stream at the same time."""

import asyncio
from typing import Any

from grpc_guard.demo import AsyncRouteGuide, async_serving


async def read(chat: Any) -> Any:
    return await chat.read()


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat = stub.RouteChat(timeout=20)
        readers = [asyncio.create_task(read(chat), name=name) for name in ("ann", "ben")]
        await asyncio.sleep(0)  # both are in read() now
        await chat.done_writing()
        await asyncio.gather(*readers, return_exceptions=True)


asyncio.run(main())
