"""OpenTelemetry's instrumentation and the guard, in one process."""
# mypy: allow-untyped-calls

from opentelemetry.instrumentation.grpc import (
    GrpcInstrumentorClient,
    GrpcInstrumentorServer,
)

import grpc_guard
from grpc_guard.demo import FEATURES, Rectangle, RouteGuide, serving

GrpcInstrumentorClient().instrument()
GrpcInstrumentorServer().instrument()
grpc_guard.enable()  # before or after: both orders are tested

with serving(RouteGuide(), mode="off") as (stub,):
    features = list(stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
    print("read:", len(features))

grpc_guard.disable()
GrpcInstrumentorServer().uninstrument()
GrpcInstrumentorClient().uninstrument()
