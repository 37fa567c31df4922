"""A handler ends while its producers are alive: they are told, and stop."""

import asyncio
from itertools import count

from grpc_guard._cli.demo.route_guide_pb2 import RouteNote
from grpc_guard._cli.demo.service import AsyncRouteGuide, async_serving
from grpc_guard.aio import Sender, StreamEnded


async def produce(sender):
    for number in count():
        try:
            await sender.send(RouteNote(message=str(number)))
        except StreamEnded as end:
            return end


class Busy(AsyncRouteGuide):
    async def RouteChat(self, notes, context):
        sender = Sender(context)
        producers.extend(asyncio.create_task(produce(sender)) for _ in range(2))
        for _ in range(3):  # enough
            yield await anext(sender)


producers = []


async def main():
    async with async_serving(Busy(), mode="off") as stub:
        print("answers:", len([answer async for answer in stub.RouteChat(Sender())]))
        ends = await asyncio.gather(*producers)
        print("told:", {end.code.name for end in ends})


asyncio.run(main())
