"""Datadog's agent and the guard, in one process; other agents go beside it in the same way."""

import ddtrace.auto  # noqa: F401

import grpc_guard
from grpc_guard._cli.demo.route_guide_pb2 import Rectangle
from grpc_guard._cli.demo.service import FEATURES, RouteGuide, serving

grpc_guard.enable()  # before the agent's line or after it

with serving(RouteGuide(), mode="off") as (stub,):
    features = list(stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
    print("read:", len(features))
