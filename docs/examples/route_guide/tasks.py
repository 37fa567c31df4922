"""All four shapes of RPC with asyncio, and a chat with a reader beside a writer.

    python docs/examples/route_guide/tasks.py

The service is the one of gRPC's own tutorial; its code comes with grpc_guard.demo. Compare
threads.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

import grpc_guard.aio
from grpc_guard.demo import (
    Feature,
    Point,
    Rectangle,
    RouteGuideServicer,
    RouteGuideStub,
    RouteNote,
    RouteSummary,
    add_RouteGuideServicer_to_server,
)

PLACES = {(10, 10): "Old Mill", (20, 30): "Stone Bridge", (90, 90): "Summit"}


# The server


class RouteGuide(RouteGuideServicer):
    """What the server streams it yields, or sends by context.write().

    Each RPC is a task of the server's loop, and as many streams as one likes are open at once.
    """

    async def GetFeature(
        self, request: Point, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Feature:
        return Feature(name=PLACES.get((request.latitude, request.longitude), ""), location=request)

    async def ListFeatures(
        self, request: Rectangle, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Feature]:
        for (latitude, longitude), name in PLACES.items():
            if request.lo.latitude <= latitude <= request.hi.latitude:
                yield Feature(name=name, location=Point(latitude=latitude, longitude=longitude))

    async def RecordRoute(
        self, points: AsyncIterator[Point], context: grpc.aio.ServicerContext[Any, Any]
    ) -> RouteSummary:
        passed = [(point.latitude, point.longitude) async for point in points]
        return RouteSummary(
            point_count=len(passed), feature_count=sum(point in PLACES for point in passed)
        )

    async def RouteChat(
        self, notes: AsyncIterator[RouteNote], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        async for note in notes:  # the other way to send: write(), one at a time
            answer = RouteNote(message=f"noted: {note.message}", location=note.location)
            await context.write(answer)


# The client


async def chat(stub: RouteGuideStub) -> None:
    """Write in one task and read in another, at the same time, on one stream.

    One writer, one reader: a second of either would get a ConcurrencyError. done_writing() is
    a write too, and belongs to the writer.
    """
    call = stub.RouteChat(timeout=10)

    async def write() -> None:
        for message in ("snow on the pass", "hut is open", "nice view"):
            await call.write(RouteNote(message=message))
        await call.done_writing()

    async def read() -> None:
        async for answer in call:
            print("chat:", answer.message)

    await asyncio.gather(write(), read())


async def main() -> None:
    # wrap() guards the streams of the server; those of a registry's channels are guarded anyway.
    server = grpc_guard.wrap(grpc.aio.server())
    add_RouteGuideServicer_to_server(RouteGuide(), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    async with grpc_guard.aio.ChannelRegistry() as registry:
        stub = registry.stub(RouteGuideStub, target)

        feature = await stub.GetFeature(Point(latitude=10, longitude=10), timeout=10)
        print("one in, one out:", feature.name)

        area = Rectangle(lo=Point(latitude=0), hi=Point(latitude=50))
        names = [feature.name async for feature in stub.ListFeatures(area, timeout=10)]
        print("one in, many out:", ", ".join(names))

        route = (Point(latitude=step, longitude=step) for step in range(0, 100, 10))
        summary = await stub.RecordRoute(route, timeout=10)
        print(f"many in, one out: {summary.point_count} points, {summary.feature_count} features")

        print("many in, many out:")
        await chat(stub)

    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main())
