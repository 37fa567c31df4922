"""Two tasks of one handler read one stream; one of them hears that the stream has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from grpc_guard import findings

from ..._catalogue.modes import ModeName
from .played import Played, refusals_in
from .route_guide_pb2 import Point, RouteSummary
from .service import PATIENCE, AsyncRouteGuide, async_serving, point, summary

STEPS = 100


class HastyRouteGuide(AsyncRouteGuide):
    """Reads each route with two tasks, in the hope to be faster."""

    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    async def RecordRoute(  # noqa: N802
        self, request_iterator: AsyncIterator[Point], context: Any
    ) -> RouteSummary:
        points: list[Point] = []
        end_of_route = asyncio.Event()

        async def read_points() -> None:
            while (place := await context.read()) is not grpc.aio.EOF:
                points.append(place)
            end_of_route.set()

        readers = [
            asyncio.create_task(read_points(), name="reader-1"),
            asyncio.create_task(read_points(), name="reader-2"),
        ]
        await asyncio.wait_for(end_of_route.wait(), PATIENCE)
        result = summary(points)
        for reader in readers:
            reader.cancel()
        self.outcomes = await asyncio.gather(*readers, return_exceptions=True)
        return result


async def walk() -> AsyncIterator[Point]:
    for step in range(STEPS):
        yield point(step)


def play(mode: ModeName) -> Played:
    """Record one route; a summary with fewer points than were sent is the harm."""
    guide = HastyRouteGuide()

    async def record() -> int:
        async with async_serving(guide, mode) as stub:
            route = await stub.RecordRoute(walk(), timeout=2 * PATIENCE)
            return int(route.point_count)

    return tell(asyncio.run(record()), guide.outcomes)


def tell(count: int, outcomes: list[Any]) -> Played:
    """Return the result: the number of points in the summary, and the `outcomes` of the readers."""
    refusals = refusals_in(outcomes)
    if count < STEPS:
        lost = STEPS - count
        text = (
            f'a reader is told "end of stream" too early: {lost} of {STEPS} points are lost, '
            "nothing is raised, and the client hears OK"
        )
    elif refusals:
        text = (
            "the second reader is refused at once and told why; "
            f"the first reads on, and all {STEPS} points arrive"
        )
    else:
        text = f"nothing happened this time: all {STEPS} points arrive"
    return Played(text, count < STEPS, refusals[0] if refusals else None, len(findings()))
