"""Two threads of a handler read its request stream, until the server answers nobody."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import grpc

from grpc_guard.demo import FEATURES, Point, RouteGuide, RouteSummary, point, serving


class Hasty(RouteGuide):
    one_has_left: Event

    def RecordRoute(self, points: Iterator[Point], context: Any) -> RouteSummary:
        with ThreadPoolExecutor(2, "reader") as readers:
            counts = [readers.submit(self.count, points) for _ in range(2)]
        return RouteSummary(point_count=sum(count.result() for count in counts))

    def count(self, points: Iterator[Point]) -> int:
        count = 0
        try:
            for _ in points:
                count += 1
        finally:
            self.one_has_left.set()
        return count


def walk(guide: Hasty) -> Iterator[Point]:
    guide.one_has_left = Event()
    for step in range(300):
        yield point(step)
    guide.one_has_left.wait(0.2)  # the stream stays open while both read


guide = Hasty()
with serving(guide, mode="off", clients=2) as (hiker, innocent):
    for _ in range(25):  # it is a matter of luck
        error = hiker.RecordRoute.future(walk(guide), timeout=2).exception()
        try:
            innocent.GetFeature(FEATURES[0].location, timeout=2)
        except grpc.RpcError as fate:
            print("another client, on its own connection:", fate.code())
            os._exit(1)  # the handler's threads will never end
        if error is not None:
            print("the client:", error.details().splitlines()[0])
            break
