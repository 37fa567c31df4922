"""The service of ``grpc-guard demo``, for programs to try: its messages, its stub and its servers."""

from ._cli.demo.route_guide_pb2 import Feature, Point, Rectangle, RouteNote, RouteSummary
from ._cli.demo.route_guide_pb2_grpc import (
    RouteGuideServicer,
    RouteGuideStub,
    add_RouteGuideServicer_to_server,
)
from ._cli.demo.service import (
    FEATURES,
    AsyncRouteGuide,
    RouteGuide,
    async_serving,
    point,
    serving,
)

__all__ = [
    "FEATURES",
    "AsyncRouteGuide",
    "Feature",
    "Point",
    "Rectangle",
    "RouteGuide",
    "RouteGuideServicer",
    "RouteGuideStub",
    "RouteNote",
    "RouteSummary",
    "add_RouteGuideServicer_to_server",
    "async_serving",
    "point",
    "serving",
]
