import grpc

import grpc_guard
from grpc_guard.demo import RouteGuideStub

channel = grpc_guard.wrap(grpc.insecure_channel("localhost:50051"))
stub = RouteGuideStub(channel)
