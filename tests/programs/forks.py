"""Runs an example that forks, in a process of its own: [title, code, address] come on stdin."""

import asyncio
import json
import multiprocessing
import sys

import grpc
import grpc.aio
from grpc_guard._cli.demo import route_guide_pb2, route_guide_pb2_grpc

title, code, target = json.load(sys.stdin)
# Parent and child share it: each line is written at once, with PYTHONUNBUFFERED as without.
sys.stdout.reconfigure(line_buffering=True, write_through=False)
names = {
    **vars(route_guide_pb2),
    "RouteGuideStub": route_guide_pb2_grpc.RouteGuideStub,
    "asyncio": asyncio,
    "grpc": grpc,
    "multiprocessing": multiprocessing,
}
exec(compile(code, title, "exec"), names)
names["main"](target)
