"""Many tasks produce into a Sender, which is the request iterator."""

import asyncio

from grpc_guard.aio import Sender
from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving


async def produce(sender: Sender[RouteNote], name: str) -> None:
    for number in range(3):
        await sender.send(RouteNote(message=f"{name}, note {number}"))


async def produce_all(sender: Sender[RouteNote]) -> None:
    async with sender:  # leaving the block half-closes, after all that was accepted
        await asyncio.gather(produce(sender, "Ann"), produce(sender, "Ben"))


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        sender = Sender[RouteNote]()
        chat = stub.RouteChat(sender)
        producing = asyncio.create_task(produce_all(sender))
        answers = [answer async for answer in chat]
        await producing
    print("answers:", len(answers))


asyncio.run(main())
