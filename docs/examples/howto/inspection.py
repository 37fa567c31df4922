from concurrent.futures import ThreadPoolExecutor

import grpc

from grpc_guard import inspection
from grpc_guard._cli.demo.route_guide_pb2_grpc import add_RouteGuideServicer_to_server
from grpc_guard._cli.demo.service import RouteGuide

server = grpc.server(ThreadPoolExecutor(max_workers=16))  # or grpc.aio.server()
add_RouteGuideServicer_to_server(RouteGuide(), server)
inspection.add_servicer(server)
