"""One channel and one stub, shared by many asyncio tasks.

    python docs/examples/helloworld/tasks.py

Server and client are in this one program; in real life they are two. Compare threads.py.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
from helloworld_pb2 import HelloReply, HelloRequest
from helloworld_pb2_grpc import GreeterServicer, GreeterStub, add_GreeterServicer_to_server

import grpc_guard.aio

NAMES = ["Ada", "Edsger", "Grace", "Alan", "Barbara", "Donald", "Frances", "Ken"]


# The server


class Greeter(GreeterServicer):
    """Says hello, and notes through which connections it was asked."""

    def __init__(self) -> None:
        self.connections: set[str] = set()

    async def SayHello(
        self, request: HelloRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> HelloReply:
        self.connections.add(context.peer())
        return HelloReply(message=f"Hello, {request.name}!")


# The client


async def greet(registry: grpc_guard.aio.ChannelRegistry, target: str, name: str) -> str:
    """Say hello from whichever task runs this.

    Asking for the stub awaits nothing, and all tasks of this event loop get the same one. A
    channel of grpc.aio belongs to its loop: on another loop the registry makes another.
    """
    stub = registry.stub(GreeterStub, target)
    reply: HelloReply = await stub.SayHello(
        HelloRequest(name=name), timeout=10
    )  # always set a deadline
    return reply.message


async def main() -> None:
    greeter = Greeter()
    server = grpc.aio.server()
    add_GreeterServicer_to_server(greeter, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    # An application would take ChannelRegistry.default(), from anywhere, and close nothing.
    async with grpc_guard.aio.ChannelRegistry() as registry:
        replies = await asyncio.gather(*(greet(registry, target, name) for name in NAMES))
        for reply in replies:  # in the order of the names, whichever came first
            print(reply)
        channels = registry.snapshot()
        print(
            f"{sum(channel.rpcs for channel in channels)} RPCs, {len(channels)} channel,", end=" "
        )
        print(f"{len(greeter.connections)} connection seen by the server")

    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main())
