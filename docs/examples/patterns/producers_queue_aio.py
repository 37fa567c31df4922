"""Many tasks produce, one writes what a queue hands it."""

import asyncio
from typing import Any

from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving

Notes = asyncio.Queue[RouteNote | None]  # None is the end


async def produce(notes: Notes, name: str) -> None:
    for number in range(3):
        await notes.put(RouteNote(message=f"{name}, note {number}"))


async def produce_all(notes: Notes) -> None:
    await asyncio.gather(produce(notes, "Ann"), produce(notes, "Ben"))
    await notes.put(None)


async def write(chat: Any, notes: Notes) -> None:
    while (note := await notes.get()) is not None:
        await chat.write(note)
    await chat.done_writing()


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        chat, notes = stub.RouteChat(), Notes(maxsize=10)
        others = asyncio.gather(produce_all(notes), write(chat, notes))
        answers = [answer async for answer in chat]
        await others
    print("answers:", len(answers))


asyncio.run(main())
