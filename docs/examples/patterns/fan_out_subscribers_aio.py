"""Every subscriber gets every message; the one that only shows the newest is held up by nobody."""

import asyncio

from grpc_guard._cli.demo.route_guide_pb2 import Rectangle
from grpc_guard._cli.demo.service import FEATURES, AsyncRouteGuide, async_serving
from grpc_guard.aio import FanOut


async def consume(features):
    return len([feature async for feature in features])


async def main():
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        fan = FanOut(stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
        newest = fan.subscribe(maxsize=1, when_full="drop_oldest")
        subscribed = {name: fan.subscribe(maxsize=20) for name in ("map", "list")}
        counts = await asyncio.gather(*map(consume, subscribed.values()))
        for name, count in zip(subscribed, counts, strict=True):
            print(f"{name}: {count}")
        print("newest:", [feature.name async for feature in newest])


asyncio.run(main())
