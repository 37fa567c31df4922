"""One channel and one stub, shared by many threads.

    python docs/examples/helloworld/threads.py

Server and client are in this one program; in real life they are two.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from helloworld_pb2 import HelloReply, HelloRequest
from helloworld_pb2_grpc import GreeterServicer, GreeterStub, add_GreeterServicer_to_server

import grpc_guard

NAMES = ["Ada", "Edsger", "Grace", "Alan", "Barbara", "Donald", "Frances", "Ken"]


# The server


class Greeter(GreeterServicer):
    """Says hello, and notes through which connections it was asked."""

    def __init__(self) -> None:
        self.connections: set[str] = set()

    def SayHello(self, request: HelloRequest, context: grpc.ServicerContext) -> HelloReply:
        self.connections.add(context.peer())
        return HelloReply(message=f"Hello, {request.name}!")


# The client


def greet(registry: grpc_guard.ChannelRegistry, target: str, name: str) -> str:
    """Say hello from whichever thread runs this.

    Each thread asks the registry for the stub, and all get the same one: its channel is made
    when the first of them asks. A channel may be used by any number of threads at once.
    """
    stub = registry.stub(GreeterStub, target)
    reply: HelloReply = stub.SayHello(
        HelloRequest(name=name), timeout=10
    )  # seconds: always set a deadline
    return reply.message


def main() -> None:
    greeter = Greeter()
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    add_GreeterServicer_to_server(greeter, server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    # An application would take ChannelRegistry.default(), from anywhere, and close nothing.
    with grpc_guard.ChannelRegistry() as registry:
        with ThreadPoolExecutor(max_workers=len(NAMES)) as threads:
            replies = threads.map(lambda name: greet(registry, target, name), NAMES)
            for reply in replies:  # in the order of the names, whichever came first
                print(reply)
        channels = registry.snapshot()
        print(
            f"{sum(channel.rpcs for channel in channels)} RPCs, {len(channels)} channel,", end=" "
        )
        print(f"{len(greeter.connections)} connection seen by the server")

    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
