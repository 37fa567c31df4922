"""Every subscriber gets every message; the one that only shows the newest is held up by nobody."""

import asyncio

from grpc_guard.aio import FanOut, Receiver
from grpc_guard.demo import FEATURES, AsyncRouteGuide, Feature, Rectangle, async_serving


async def consume(features: Receiver[Feature]) -> int:
    return len([feature async for feature in features])


async def main() -> None:
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        fan = FanOut[Feature](stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
        newest = fan.subscribe(maxsize=1, when_full="drop_oldest")
        subscribed = {name: fan.subscribe(maxsize=20) for name in ("map", "list")}
        counts = await asyncio.gather(*map(consume, subscribed.values()))
        for name, count in zip(subscribed, counts, strict=True):
            print(f"{name}: {count}")
        print("newest:", [feature.name async for feature in newest])


asyncio.run(main())
