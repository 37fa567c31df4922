"""Celery tasks that ask a gRPC server: celery -A celery_tasks worker."""

import os

from celery import Celery

import grpc_guard
from grpc_guard.demo import Point, Rectangle, RouteGuideStub

EVERYWHERE = Rectangle(hi=Point(latitude=900_000_000, longitude=1_800_000_000))

app = Celery("celery_tasks", broker=os.environ.get("BROKER", "memory://"))


@app.task
def count_features() -> int:
    """Count the features; the stub is made by the first task of each worker process."""
    registry = grpc_guard.ChannelRegistry.default()
    guide = registry.stub(RouteGuideStub, os.environ["ROUTE_GUIDE"])
    return sum(1 for _ in guide.ListFeatures(EVERYWHERE, timeout=10))
