"""Many tasks of a handler write, one at a time, and the handler waits for them."""

import asyncio
from typing import Any

from grpc_guard.demo import RouteGuideServicer, RouteNote, async_serving


async def produce(context: Any, turn: asyncio.Lock, name: str) -> None:
    for number in range(3):
        async with turn:
            await context.write(RouteNote(message=f"{name}, note {number}"))


class Busy(RouteGuideServicer):
    async def RouteChat(self, notes: Any, context: Any) -> None:
        turn = asyncio.Lock()
        await asyncio.gather(produce(context, turn, "Ann"), produce(context, turn, "Ben"))


async def main() -> None:
    async with async_serving(Busy(), mode="off") as stub:
        chat = stub.RouteChat()
        await chat.done_writing()
        print("answers:", len([answer async for answer in chat]))


asyncio.run(main())
