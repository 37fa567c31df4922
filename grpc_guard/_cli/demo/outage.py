"""Two threads of one handler read one stream, until the server dies for all clients."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from grpc_guard import findings

from ..._catalogue.modes import ModeName
from .played import Played, refusals_in
from .route_guide_pb2 import Point, RouteSummary
from .route_guide_pb2_grpc import RouteGuideStub
from .service import FEATURES, PATIENCE, RouteGuide, point, serving, summary

STEPS = 300
TRIES = 100  # unguarded, where it is a matter of luck
GUARDED_TRIES = 5
_ENOUGH = 8.0  # seconds after which no other try begins
_DEADLINE = 3.0  # seconds, for the innocent client
_LINGER = 0.2  # seconds for which an unguarded route stays open while no reader has left it


class HastyRouteGuide(RouteGuide):
    """Reads each route with two threads, in the hope to be faster."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.somebody_left = threading.Event()

    def RecordRoute(  # noqa: N802
        self, request_iterator: Iterator[Point], context: Any
    ) -> RouteSummary:
        points: list[Point] = []

        def read_points() -> None:
            for place in request_iterator:
                points.append(place)

        with futures.ThreadPoolExecutor(2, thread_name_prefix="reader") as readers:
            halves = [readers.submit(read_points), readers.submit(read_points)]
            futures.wait(halves, return_when=futures.FIRST_COMPLETED)
            self.somebody_left.set()
        self.errors = [error for half in halves if (error := half.exception()) is not None]
        return summary(points)


@dataclasses.dataclass(frozen=True, slots=True)
class Try:
    """One recorded route, and how an innocent client fared afterwards.

    ``counted`` is the number of points in the summary, None if none came back; ``innocent``
    the status of the other client's RPC; ``refusal`` the finding for which a reader was refused.
    """

    counted: int | None
    innocent: str = "OK"
    refusal: dict[str, Any] | None = None


@contextmanager
def deaths(news: threading.Event) -> Iterator[list[str]]:
    """Yield a list of the exceptions that end threads while the block runs; each sets `news`."""
    died: list[str] = []

    def note(death: Any) -> None:
        died.append(repr(death.exc_value))
        news.set()

    before, threading.excepthook = threading.excepthook, note
    try:
        yield died
    finally:
        threading.excepthook = before


def walk(guide: HastyRouteGuide, linger: float) -> Iterator[Point]:
    """Yield the points; the route stays open until a reader has left it, or for `linger` seconds."""
    for step in range(STEPS):
        yield point(step)
    guide.somebody_left.wait(linger)


def attempt(
    guide: HastyRouteGuide,
    hiker: RouteGuideStub,
    innocent: RouteGuideStub,
    linger: float,
    news: threading.Event,
) -> Try:
    """Record one route, then let the innocent client ask for a feature."""
    guide.errors = []
    guide.somebody_left.clear()
    news.clear()
    route = hiker.RecordRoute.future(walk(guide, linger), timeout=2 * PATIENCE)
    route.add_done_callback(lambda _: news.set())
    news.wait(2 * PATIENCE)
    answered = route.done() and route.code() is grpc.StatusCode.OK
    counted = int(route.result().point_count) if answered else None
    route.cancel()
    refusals = refusals_in(guide.errors)
    try:
        innocent.GetFeature(FEATURES[0].location, timeout=_DEADLINE)
        status = "OK"
    except grpc.RpcError as error:
        status = error.code().name
    return Try(counted, status, refusals[0] if refusals else None)


def tell(tries: list[Try], died: list[str]) -> Played:
    """Say what came of it."""
    last = tries[-1]
    lost = [one for one in tries if one.counted != STEPS]
    refused = [one.refusal for one in tries if one.refusal]
    if last.innocent != "OK":
        cause = f"the serving thread dies of {died[0]}" if died else "the server stops serving"
        text = (
            f"in try {len(tries)} {cause}; an innocent client, on its own connection, "
            f"waits in vain: {last.innocent}"
        )
    elif lost:
        text = (
            f"no outage in {len(tries)} tries, but {len(lost)} routes without their {STEPS} points"
        )
    elif len(refused) == len(tries):
        text = (
            f"in each of {len(tries)} tries the second reader is refused, all {STEPS} points "
            "arrive, and the innocent client gets its answer"
        )
    else:
        text = (
            f"no outage this time, in {len(tries)} tries: who reads when is a matter of luck, and "
            "another time the server may die"
        )
    refusal = refused[0] if len(refused) == len(tries) else None
    return Played(text, bool(lost) or last.innocent != "OK", refusal, len(findings()))


def play(mode: ModeName) -> Played:
    """Record routes until the server is dead for all clients, or until enough is enough.

    Guarded, each route stays open until a reader has been refused: of two that keep reading
    an open route, one must be.
    """
    tries, linger = (TRIES, _LINGER) if mode == "off" else (GUARDED_TRIES, PATIENCE)
    guide = HastyRouteGuide()
    news = threading.Event()
    told: list[Try] = []
    end = time.monotonic() + _ENOUGH
    with deaths(news) as died, serving(guide, mode, clients=2) as (hiker, innocent):
        while len(told) < tries and time.monotonic() < end:
            told.append(attempt(guide, hiker, innocent, linger, news))
            if told[-1].innocent != "OK":
                break
    return tell(told, died)
