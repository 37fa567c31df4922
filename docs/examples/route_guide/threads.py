"""All four shapes of RPC, and a chat with a reader beside a writer.

    python docs/examples/route_guide/threads.py

The service is the one of gRPC's own tutorial; its code comes with grpc_guard.demo.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

import grpc_guard
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
    """What the server streams it yields; what the client streams it gets as an iterator.

    Each RPC runs in a thread of the server's pool, and a stream holds that thread until it
    ends: give the pool as many workers as there may be streams, and some for the rest.
    """

    def GetFeature(self, request: Point, context: grpc.ServicerContext) -> Feature:
        return Feature(name=PLACES.get((request.latitude, request.longitude), ""), location=request)

    def ListFeatures(self, request: Rectangle, context: grpc.ServicerContext) -> Iterator[Feature]:
        for (latitude, longitude), name in PLACES.items():
            if request.lo.latitude <= latitude <= request.hi.latitude:
                yield Feature(name=name, location=Point(latitude=latitude, longitude=longitude))

    def RecordRoute(self, points: Iterator[Point], context: grpc.ServicerContext) -> RouteSummary:
        passed = [(point.latitude, point.longitude) for point in points]
        return RouteSummary(
            point_count=len(passed), feature_count=sum(point in PLACES for point in passed)
        )

    def RouteChat(
        self, notes: Iterator[RouteNote], context: grpc.ServicerContext
    ) -> Iterator[RouteNote]:
        for note in notes:  # reads while gRPC writes what was yielded: one reader, one writer
            yield RouteNote(message=f"noted: {note.message}", location=note.location)


# The client


def chat(stub: RouteGuideStub) -> None:
    """Write from one thread and read in another, at the same time, on one stream.

    A sync client writes by an iterator, which gRPC advances in a thread of its own. A queue
    makes of it something to write to from any thread; None is its end. Reading is the
    ``for`` loop: one thread at a time. A second reader would get a ConcurrencyError.
    """
    notes: queue.SimpleQueue[RouteNote | None] = queue.SimpleQueue()
    answers = stub.RouteChat(iter(notes.get, None), timeout=10)

    def write() -> None:
        for message in ("snow on the pass", "hut is open", "nice view"):
            notes.put(RouteNote(message=message))
        notes.put(None)

    writer = threading.Thread(target=write, name="writer")
    writer.start()
    for answer in answers:
        print("chat:", answer.message)
    writer.join()


def main() -> None:
    # wrap() guards the streams of the server; those of a registry's channels are guarded anyway.
    server = grpc_guard.wrap(grpc.server(ThreadPoolExecutor(max_workers=8)))
    add_RouteGuideServicer_to_server(RouteGuide(), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    with grpc_guard.ChannelRegistry() as registry:
        stub = registry.stub(RouteGuideStub, target)

        feature = stub.GetFeature(Point(latitude=10, longitude=10), timeout=10)
        print("one in, one out:", feature.name)

        area = Rectangle(lo=Point(latitude=0), hi=Point(latitude=50))
        names = [feature.name for feature in stub.ListFeatures(area, timeout=10)]
        print("one in, many out:", ", ".join(names))

        route = (Point(latitude=step, longitude=step) for step in range(0, 100, 10))
        summary = stub.RecordRoute(route, timeout=10)
        print(f"many in, one out: {summary.point_count} points, {summary.feature_count} features")

        print("many in, many out:")
        chat(stub)

    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
