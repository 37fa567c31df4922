"""A call is started on one event loop and read on another."""

import asyncio
from threading import Thread
from typing import Any

from grpc_guard.demo import AsyncRouteGuide, Rectangle, async_serving


def show(features: Any) -> None:
    async def read() -> Any:
        return await features.read()

    try:
        asyncio.run(read())
    except RuntimeError as error:
        first_line, *_ = str(error).splitlines()
        print(f"{type(error).__name__}: {first_line}")


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        features = stub.ListFeatures(Rectangle(), timeout=20)
        thread = Thread(target=show, args=[features], name="another-loop")
        thread.start()
        await asyncio.to_thread(thread.join)


asyncio.run(main())
