"""Two tasks loop over one response stream."""

import asyncio
from collections.abc import AsyncIterator

from grpc_guard.demo import FEATURES, AsyncRouteGuide, Feature, Rectangle, async_serving


async def read(features: AsyncIterator[Feature]) -> None:
    async for feature in features:
        await asyncio.sleep(0)  # do something with it


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        features = stub.ListFeatures(Rectangle(hi=FEATURES[-1].location), timeout=20)
        readers = [asyncio.create_task(read(features), name=f"reader-{n}") for n in (1, 2)]
        for outcome in await asyncio.gather(*readers, return_exceptions=True):
            if isinstance(outcome, RuntimeError):
                first_line, *_ = str(outcome).splitlines()
                print(f"{type(outcome).__name__}: {first_line}")


asyncio.run(main())
