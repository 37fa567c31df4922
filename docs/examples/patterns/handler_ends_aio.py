"""A handler ends while its producers are alive: they are told, and stop."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

from grpc_guard.aio import Sender, StreamEnded
from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving


async def produce(sender: Sender[RouteNote]) -> StreamEnded:
    try:
        for number in count():
            await sender.send(RouteNote(message=str(number)))
    except StreamEnded as end:
        return end
    raise AssertionError("the numbers have no end")


class Busy(AsyncRouteGuide):
    async def RouteChat(self, notes: Any, context: Any) -> AsyncIterator[RouteNote]:
        sender = Sender[RouteNote](context)
        producers.extend(asyncio.create_task(produce(sender)) for _ in range(2))
        for _ in range(3):  # enough
            yield await anext(sender)


producers: list[asyncio.Task[StreamEnded]] = []


async def main() -> None:
    async with async_serving(Busy(), mode="off") as stub:
        print("answers:", len([answer async for answer in stub.RouteChat(Sender[RouteNote]())]))
        ends = await asyncio.gather(*producers)
        print("told:", {str(end.code) for end in ends})


asyncio.run(main())
