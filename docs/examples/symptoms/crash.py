"""A handler returns and leaves behind a task that still asks its context something."""

import asyncio
from typing import Any

from grpc_guard.demo import RouteGuideServicer, async_serving


class Hasty(RouteGuideServicer):
    async def RouteChat(self, notes: Any, context: Any) -> None:
        self.returned = asyncio.Event()
        self.late = asyncio.create_task(self.note(context), name="late")

    async def note(self, context: Any) -> str:
        await self.returned.wait()
        return str(context.peer())


async def main() -> None:
    guide = Hasty()
    async with async_serving(guide, mode="off") as stub:
        await stub.RouteChat(timeout=20).code()  # the RPC is over
        guide.returned.set()
        (outcome,) = await asyncio.gather(guide.late, return_exceptions=True)
        first_line, *_ = str(outcome).splitlines()
        print(f"{type(outcome).__name__}: {first_line}")


asyncio.run(main())
