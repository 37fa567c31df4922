"""Two tasks read one stream on uvloop's loop."""

import asyncio
from typing import Any

import uvloop

from grpc_guard.demo import AsyncRouteGuide, async_serving


async def read(chat: Any) -> Any:
    return await chat.read()


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat = stub.RouteChat(timeout=20)
        readers = [asyncio.create_task(read(chat), name=f"reader-{n}") for n in (1, 2)]
        await asyncio.sleep(0)  # both are in read() now
        await chat.done_writing()
        await asyncio.wait(readers)
        print("refused:", [reader.get_name() for reader in readers if reader.exception()])


loop = uvloop.new_event_loop()
loop.run_until_complete(main())
loop.close()
