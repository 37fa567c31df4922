"""Many tasks read, one at a time."""

import asyncio
from typing import Any

import grpc

from grpc_guard.demo import FEATURES, AsyncRouteGuide, Rectangle, async_serving


async def work(features: Any, turn: asyncio.Lock, names: list[str]) -> None:
    while True:
        async with turn:  # around the read alone: the work goes on side by side
            feature = await features.read()
        if feature is grpc.aio.EOF:
            return
        names.append(feature.name)


async def main() -> None:
    names: list[str] = []
    async with async_serving(AsyncRouteGuide(), mode="off") as stub:
        features, turn = (
            stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)),
            asyncio.Lock(),
        )
        await asyncio.gather(*(work(features, turn, names) for _ in range(3)))
    assert sorted(names) == sorted(feature.name for feature in FEATURES)
    print(f"read: {len(names)}, each once")


asyncio.run(main())
