"""A chat in which two tasks read; nobody looks at the exception of the second."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from grpc_guard.demo import (
    RouteGuideServicer,
    RouteGuideStub,
    RouteNote,
    add_RouteGuideServicer_to_server,
)


class RouteGuide(RouteGuideServicer):
    async def RouteChat(
        self, notes: AsyncIterator[RouteNote], context: Any
    ) -> AsyncIterator[RouteNote]:
        async for note in notes:
            yield note


async def consume(chat: Any) -> None:
    while (note := await chat.read()) is not grpc.aio.EOF:
        print("received:", note.message)


async def main() -> None:
    server = grpc.aio.server()
    add_RouteGuideServicer_to_server(RouteGuide(), server)
    port = server.add_insecure_port("localhost:0")
    await server.start()

    async with grpc.aio.insecure_channel(f"localhost:{port}") as channel:
        chat = RouteGuideStub(channel).RouteChat(timeout=20)
        readers = [asyncio.create_task(consume(chat), name=f"reader-{n}") for n in (1, 2)]
        for message in ("snow on the pass", "fog at the lake"):
            await chat.write(RouteNote(message=message))
        await chat.done_writing()
        await asyncio.gather(*readers, return_exceptions=True)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
