from concurrent.futures import ThreadPoolExecutor

import grpc

import grpc_guard
from grpc_guard import inspection
from grpc_guard.demo import RouteGuide, add_RouteGuideServicer_to_server

grpc_guard.enable()  # else there is nothing to ask for
server = grpc.server(ThreadPoolExecutor(max_workers=16))  # or grpc.aio.server()
add_RouteGuideServicer_to_server(RouteGuide(), server)
inspection.add_servicer(server)
