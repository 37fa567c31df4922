import asyncio

import grpc_guard
from grpc_guard.demo import AsyncRouteGuide, async_serving


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="raise") as stub:
        chat = stub.RouteChat(timeout=20)
        reader = asyncio.create_task(chat.read(), name="reader")
        await asyncio.sleep(0)  # the reader is inside now
        try:
            await chat.read()
        except grpc_guard.ConcurrencyError as error:
            finding = error.finding
            print(finding.rule, finding.severity)  # prints: concurrent-read error
            print(finding.side, finding.api)  # prints: client aio
            print(finding.rpc)  # prints: /grpc_guard.demo.RouteGuide/RouteChat
            assert finding.owner is not None
            print(finding.owner.name, finding.owner.operation)  # prints: reader read
        await chat.done_writing()
        await reader


asyncio.run(main())
