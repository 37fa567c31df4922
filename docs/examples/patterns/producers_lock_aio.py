"""Many tasks write, one at a time."""

import asyncio
from typing import Any

from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving


async def produce(chat: Any, turn: asyncio.Lock, name: str) -> None:
    for number in range(3):
        async with turn:
            await chat.write(RouteNote(message=f"{name}, note {number}"))


async def write(chat: Any) -> None:
    turn = asyncio.Lock()
    await asyncio.gather(produce(chat, turn, "Ann"), produce(chat, turn, "Ben"))
    await chat.done_writing()  # a write too: when the others are done


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat = stub.RouteChat()
        writer = asyncio.create_task(write(chat))
        answers = [answer async for answer in chat]
        await writer
    print("answers:", len(answers))


asyncio.run(main())
