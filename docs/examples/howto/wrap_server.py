from concurrent import futures

import grpc

import grpc_guard
from grpc_guard.demo import (
    RouteGuideServicer,
    add_RouteGuideServicer_to_server,
)

server = grpc_guard.wrap(grpc.server(futures.ThreadPoolExecutor(max_workers=16)))
add_RouteGuideServicer_to_server(RouteGuideServicer(), server)
