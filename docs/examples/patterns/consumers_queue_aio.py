"""One task reads, a queue hands the messages on to many."""

import asyncio

from grpc_guard.demo import FEATURES, AsyncRouteGuide, Feature, Rectangle, async_serving


async def work(features: asyncio.Queue[Feature | None], names: list[str]) -> None:
    while (feature := await features.get()) is not None:
        names.append(feature.name)


async def main() -> None:
    names: list[str] = []
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        # A full queue holds the reader back.
        features: asyncio.Queue[Feature | None] = asyncio.Queue(maxsize=10)
        workers = [asyncio.create_task(work(features, names)) for _ in range(3)]
        async for feature in stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)):
            await features.put(feature)
        for _ in workers:
            await features.put(None)
        await asyncio.gather(*workers)
    assert sorted(names) == sorted(feature.name for feature in FEATURES)
    print(f"read: {len(names)}, each once")


asyncio.run(main())
