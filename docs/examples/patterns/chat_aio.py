"""A chat: every handler has a Sender, and the handler that gets a note sends it to all of them.

A member that does not read loses the oldest messages, and holds up nobody.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc_guard.aio import Sender, StreamEnded
from grpc_guard.demo import AsyncRouteGuide, RouteNote, async_serving


class Hut(AsyncRouteGuide):
    def __init__(self) -> None:
        self.members: list[Sender[RouteNote]] = []

    async def RouteChat(
        self, notes: AsyncIterator[RouteNote], context: Any
    ) -> AsyncIterator[RouteNote]:
        sender = Sender[RouteNote](context, when_full="drop_oldest")
        self.members.append(sender)
        listening = asyncio.create_task(self.listen(notes, sender))
        try:
            async for note in sender:  # what all the others send
                yield note
        finally:
            self.members.remove(sender)
            listening.cancel()

    async def listen(self, notes: AsyncIterator[RouteNote], sender: Sender[RouteNote]) -> None:
        async for note in notes:
            for member in list(self.members):
                try:
                    await member.send(note)
                except StreamEnded:
                    pass  # has just left
        sender.close()  # the member has half-closed


async def main() -> None:
    async with async_serving(Hut(), mode="off") as stub:
        senders = [Sender[RouteNote]() for _ in range(3)]
        chats = [stub.RouteChat(sender) for sender in senders]
        for sender, chat in zip(senders, chats, strict=True):
            await sender.send(RouteNote(message="here"))
            await chat.read()  # one's own: from now on this member is in
        await senders[0].send(RouteNote(message="hello"))
        for name, chat in zip(("Ann", "Ben"), chats, strict=False):  # the third does not read
            while (note := await chat.read()).message != "hello":
                pass
            print(f"{name} reads:", note.message)
        for sender in senders:
            sender.close()
        for chat in chats:
            while await chat.read():
                pass


asyncio.run(main())
