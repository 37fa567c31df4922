"""Two tasks read one response stream with read()."""

import asyncio
from typing import Any

import grpc

from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving


async def read(chat: Any, name: str) -> None:
    count = 0
    while (await chat.read()) is not grpc.aio.EOF:
        count += 1
    print(f"{name}: end of stream after {count} messages")


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat = stub.RouteChat(timeout=20)
        readers = [
            asyncio.create_task(read(chat, name), name=name) for name in ("reader-1", "reader-2")
        ]
        await asyncio.sleep(0)  # both are in read() now
        for number in range(5):
            await chat.write(RouteNote(message=f"note {number}"))
        await chat.done_writing()
        for outcome in await asyncio.gather(*readers, return_exceptions=True):
            if outcome is not None:
                first_line, *_ = str(outcome).splitlines()
                print(f"{type(outcome).__name__}: {first_line}")


asyncio.run(main())
