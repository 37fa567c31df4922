"""A WSGI application that asks a gRPC server; it makes no channel before it is asked."""

import os
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import grpc_guard
from grpc_guard.demo import Point, Rectangle, RouteGuideStub

EVERYWHERE = Rectangle(hi=Point(latitude=900_000_000, longitude=1_800_000_000))


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    registry = grpc_guard.ChannelRegistry.default()  # of this worker process
    guide = registry.stub(RouteGuideStub, os.environ["ROUTE_GUIDE"])
    names = [feature.name for feature in guide.ListFeatures(EVERYWHERE, timeout=10)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(names).encode()]
