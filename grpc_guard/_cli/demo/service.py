"""RouteGuide, sync and asyncio: the features of a hiking trail, served from memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio

from grpc_guard import wrap

from ..._catalogue.modes import ModeName
from .route_guide_pb2 import Feature, Point, Rectangle, RouteNote, RouteSummary
from .route_guide_pb2_grpc import (
    RouteGuideServicer,
    RouteGuideStub,
    add_RouteGuideServicer_to_server,
)

PATIENCE = 5.0  # seconds; an answer that takes longer never comes

_NAMES = (
    "Trailhead",
    "Old Mill",
    "Stone Bridge",
    "Beech Wood",
    "Chapel",
    "Waterfall",
    "Shepherd's Hut",
    "Lower Lake",
    "Upper Lake",
    "Pass",
    "Glacier View",
    "Summit",
)


def point(step: int) -> Point:
    """Return the place that one reaches with `step` steps from the trailhead."""
    return Point(latitude=470_000_000 + 1_000 * step, longitude=110_000_000 + 700 * step)


FEATURES = tuple(
    Feature(name=name, location=point(25 * stage)) for stage, name in enumerate(_NAMES)
)


def _key(place: Point) -> tuple[int, int]:
    return place.latitude, place.longitude


_BY_PLACE = {_key(feature.location): feature for feature in FEATURES}


def feature_at(place: Point) -> Feature:
    return _BY_PLACE.get(_key(place)) or Feature(location=place)


def features_in(area: Rectangle) -> Iterator[Feature]:
    for feature in FEATURES:
        place = feature.location
        if (
            area.lo.latitude <= place.latitude <= area.hi.latitude
            and area.lo.longitude <= place.longitude <= area.hi.longitude
        ):
            yield feature


def summary(points: Iterable[Point]) -> RouteSummary:
    passed = [_key(place) for place in points]
    return RouteSummary(
        point_count=len(passed), feature_count=sum(key in _BY_PLACE for key in passed)
    )


def answer(note: RouteNote) -> RouteNote:
    return RouteNote(location=note.location, message=f"the ranger has read: {note.message:.40}")


class RouteGuide(RouteGuideServicer):
    """The service on a server of ``grpc``."""

    def GetFeature(self, request: Point, context: Any, /) -> Feature:  # noqa: N802
        return feature_at(request)

    def ListFeatures(self, request: Rectangle, context: Any, /) -> Iterator[Feature]:  # noqa: N802
        yield from features_in(request)

    def RecordRoute(  # noqa: N802
        self, request_iterator: Iterator[Point], context: Any, /
    ) -> RouteSummary:
        return summary(request_iterator)

    def RouteChat(  # noqa: N802
        self, request_iterator: Iterator[RouteNote], context: Any, /
    ) -> Iterator[RouteNote]:
        for note in request_iterator:
            yield answer(note)


class AsyncRouteGuide(RouteGuideServicer):
    """The service on a server of ``grpc.aio``."""

    async def GetFeature(self, request: Point, context: Any, /) -> Feature:  # noqa: N802
        return feature_at(request)

    async def ListFeatures(  # noqa: N802
        self, request: Rectangle, context: Any, /
    ) -> AsyncIterator[Feature]:
        for feature in features_in(request):
            yield feature

    async def RecordRoute(  # noqa: N802
        self, request_iterator: AsyncIterator[Point], context: Any, /
    ) -> RouteSummary:
        return summary([place async for place in request_iterator])

    async def RouteChat(  # noqa: N802
        self, request_iterator: AsyncIterator[RouteNote], context: Any, /
    ) -> AsyncIterator[RouteNote]:
        async for note in request_iterator:
            yield answer(note)


# Channels to one address would share their connection otherwise.
_ALONE = [("grpc.use_local_subchannel_pool", 1)]


@contextmanager
def serving(
    guide: RouteGuideServicer, mode: ModeName, clients: int = 1
) -> Iterator[tuple[RouteGuideStub, ...]]:
    """Serve `guide` on 127.0.0.1; yield a tuple with a stub for each of the `clients`.

    Each has its own connection. Servers and channels are guarded in `mode`.
    """
    server = wrap(grpc.server(ThreadPoolExecutor(8)), mode=mode)
    add_RouteGuideServicer_to_server(guide, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with ExitStack() as channels:
            opened = [
                channels.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}", options=_ALONE))
                for _ in range(clients)
            ]
            yield tuple(RouteGuideStub(wrap(channel, mode=mode)) for channel in opened)
    finally:
        server.stop(1).wait(1)  # without a grace period it waits for ever where the server died


@asynccontextmanager
async def async_serving(guide: RouteGuideServicer, mode: ModeName) -> AsyncIterator[RouteGuideStub]:
    """Serve `guide` on 127.0.0.1 and yield a stub for a client; see serving()."""
    server = wrap(grpc.aio.server(), mode=mode)
    add_RouteGuideServicer_to_server(guide, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_ALONE) as channel:
            yield RouteGuideStub(wrap(channel, mode=mode))
    finally:
        await asyncio.wait_for(server.stop(None), PATIENCE)
        await _end_of_handlers()


async def _end_of_handlers() -> None:
    # If the loop ends before them, grpcio prints a traceback.
    running = [task for task in asyncio.all_tasks() if _is_of_grpcio(task)]
    if running:
        await asyncio.wait(running, timeout=PATIENCE)


def _is_of_grpcio(task: asyncio.Task[Any]) -> bool:
    return type(task.get_coro()).__module__.startswith("_cython")
