"""Datadog's agent and the guard, in one process; other agents go beside it in the same way."""

import ddtrace.auto  # noqa: F401

import grpc_guard
from grpc_guard.demo import FEATURES, Rectangle, RouteGuide, serving

grpc_guard.enable()  # before the agent's line or after it

with serving(RouteGuide(), mode="off") as (stub,):
    features = list(stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
    print("read:", len(features))
