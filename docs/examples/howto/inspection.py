from concurrent.futures import ThreadPoolExecutor

import grpc

from grpc_guard import inspection
from grpc_guard.demo import RouteGuide, add_RouteGuideServicer_to_server

server = grpc.server(ThreadPoolExecutor(max_workers=16))  # or grpc.aio.server()
add_RouteGuideServicer_to_server(RouteGuide(), server)
inspection.add_servicer(server)
