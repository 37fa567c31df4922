"""Many tasks produce, one writes what a queue hands it."""

import asyncio

from grpc_guard._cli.demo.route_guide_pb2 import RouteNote
from grpc_guard._cli.demo.service import AsyncRouteGuide, async_serving


async def produce(notes, name):
    for number in range(3):
        await notes.put(RouteNote(message=f"{name}, note {number}"))


async def produce_all(notes):
    await asyncio.gather(produce(notes, "Ann"), produce(notes, "Ben"))
    await notes.put(None)


async def write(chat, notes):
    while (note := await notes.get()) is not None:
        await chat.write(note)
    await chat.done_writing()


async def main():
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat, notes = stub.RouteChat(), asyncio.Queue(maxsize=10)
        others = asyncio.gather(produce_all(notes), write(chat, notes))
        answers = [answer async for answer in chat]
        await others
    print("answers:", len(answers))


asyncio.run(main())
