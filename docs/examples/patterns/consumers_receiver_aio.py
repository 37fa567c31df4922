"""Many tasks receive; one of them looks in for a moment only, and loses nothing."""

import asyncio

from grpc_guard.aio import Receiver
from grpc_guard.demo import FEATURES, AsyncRouteGuide, Feature, Rectangle, async_serving


async def work(features: Receiver[Feature], names: list[str]) -> None:
    async for feature in features:
        names.append(feature.name)


async def main() -> None:
    names: list[str] = []
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        features = Receiver[Feature](stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
        try:
            names.append((await features.receive(timeout=0.001)).name)
        except TimeoutError:
            pass  # the RPC goes on: the message that comes later is the next one's
        await asyncio.gather(*(work(features, names) for _ in range(3)))
    assert sorted(names) == sorted(feature.name for feature in FEATURES)
    print(f"read: {len(names)}, each once")


asyncio.run(main())
