import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

import grpc_guard
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

    async with grpc_guard.wrap(grpc.aio.insecure_channel(f"localhost:{port}")) as channel:
        chat = RouteGuideStub(channel).RouteChat()
        first = asyncio.create_task(consume(chat), name="reader-1")
        second = asyncio.create_task(consume(chat), name="reader-2")
        await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        print(second.exception())

        await chat.write(RouteNote(message="the first reader goes on"))
        await chat.done_writing()
        await first
    await server.stop(None)


asyncio.run(main())
