"""A handler returns and leaves behind a task that still writes."""

import asyncio
from typing import Any

from grpc_guard.demo import RouteGuideServicer, RouteNote, async_serving


class Hasty(RouteGuideServicer):
    async def RouteChat(self, notes: Any, context: Any) -> None:
        self.returned = asyncio.Event()
        self.parting = asyncio.create_task(self.part(context), name="parting")

    async def part(self, context: Any) -> None:
        await self.returned.wait()
        await context.write(RouteNote(message="bye"))


async def main() -> None:
    guide = Hasty()
    async with async_serving(guide, mode="off") as stub:
        chat = stub.RouteChat(timeout=20)
        await chat.code()  # the RPC is over
        guide.returned.set()
        (outcome,) = await asyncio.gather(guide.parting, return_exceptions=True)
        first_line, *_ = str(outcome).splitlines()
        print(f"{type(outcome).__name__}: {first_line}")


asyncio.run(main())
