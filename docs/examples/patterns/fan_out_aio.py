"""Every consumer gets every message: one task reads, with a queue for each."""

import asyncio

from grpc_guard.demo import FEATURES, AsyncRouteGuide, Feature, Rectangle, async_serving

Features = asyncio.Queue[Feature | None]  # None is the end


async def consume(features: Features) -> int:
    count = 0
    while await features.get() is not None:
        count += 1
    return count


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        queues = {name: Features(maxsize=10) for name in ("map", "list")}
        consumers = [asyncio.create_task(consume(features)) for features in queues.values()]
        async for feature in stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)):
            for features in queues.values():
                await features.put(feature)
        for features in queues.values():
            await features.put(None)
        for name, count in zip(queues, await asyncio.gather(*consumers), strict=True):
            print(f"{name}: {count}")


asyncio.run(main())
