"""Django views, sync and async, that ask a gRPC server."""

import os

from django.http import HttpRequest, JsonResponse
from django.urls import path

import grpc_guard
from grpc_guard.demo import Point, Rectangle, RouteGuideStub

EVERYWHERE = Rectangle(hi=Point(latitude=900_000_000, longitude=1_800_000_000))
TARGET = os.environ["ROUTE_GUIDE"]


def features(request: HttpRequest) -> JsonResponse:
    guide = grpc_guard.ChannelRegistry.default().stub(RouteGuideStub, TARGET)
    names = [feature.name for feature in guide.ListFeatures(EVERYWHERE, timeout=10)]
    return JsonResponse({"features": names})


async def features_async(request: HttpRequest) -> JsonResponse:  # on an ASGI server's one loop
    guide = grpc_guard.aio.ChannelRegistry.default().stub(RouteGuideStub, TARGET)
    names = [feature.name async for feature in guide.ListFeatures(EVERYWHERE, timeout=10)]
    return JsonResponse({"features": names})


urlpatterns = [path("features", features), path("features-async", features_async)]
