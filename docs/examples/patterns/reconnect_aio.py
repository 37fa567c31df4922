"""The connection breaks: what gRPC had not taken goes first on the next RPC."""

import asyncio
from collections.abc import Sequence

from grpc_guard.aio import Sender, StreamEnded
from grpc_guard.demo import AsyncRouteGuide, RouteGuideStub, RouteNote, async_serving


class Outbox:
    """Sends on one RPC after another; a message is sent at least once."""

    def __init__(self, stub: RouteGuideStub) -> None:
        self.stub, self.turn = stub, asyncio.Lock()

    async def connect(self, unsent: Sequence[RouteNote] = ()) -> None:
        sender = Sender[RouteNote](maxsize=max(16, len(unsent)))
        for note in unsent:  # there is room for all, and no RPC yet that could end
            await sender.send(note)
        self.chat = self.stub.RouteChat(sender)
        self.sender = sender

    async def send(self, note: RouteNote) -> None:
        while True:
            sender = self.sender
            try:
                return await sender.send(note)
            except StreamEnded:  # and `note` was not accepted
                async with self.turn:
                    if self.sender is sender:  # nobody else has connected
                        await self.connect(sender.unsent())


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        outbox = Outbox(stub)
        await outbox.connect()
        await outbox.send(RouteNote(message="1"))
        await outbox.sender.flush()
        outbox.chat.cancel()  # the connection breaks
        for number in range(2, 40):
            await outbox.send(RouteNote(message=str(number)))
        outbox.sender.close()
        answers = [answer.message async for answer in outbox.chat]
    numbers = [int(answer.rsplit(maxsplit=1)[1]) for answer in answers]
    assert numbers == list(range(numbers[0], 40)), numbers  # what came before broke with it
    print("the last:", answers[-1])


asyncio.run(main())
