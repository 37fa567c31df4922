"""Two services on one server, their stubs on one channel: gRPC multiplexes.

    python docs/examples/multiplex/threads.py

A channel is not bound to a service. Any number of stubs, of any services that the server
offers, share it, and their RPCs run in parallel on one connection.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from multiplex_pb2 import HelloReply, HelloRequest, Words
from multiplex_pb2_grpc import (
    EchoServicer,
    EchoStub,
    GreeterServicer,
    GreeterStub,
    add_EchoServicer_to_server,
    add_GreeterServicer_to_server,
)

import grpc_guard

# The server


class Greeter(GreeterServicer):
    def SayHello(self, request: HelloRequest, context: grpc.ServicerContext) -> HelloReply:
        return HelloReply(message=f"Hello, {request.name}! You come from {context.peer()}.")


class Echo(EchoServicer):
    def Say(self, request: Words, context: grpc.ServicerContext) -> Words:
        return Words(text=f"{request.text}, says {context.peer()}")

    def SayAll(self, requests: Iterator[Words], context: grpc.ServicerContext) -> Iterator[Words]:
        yield from requests


# The client


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    add_GreeterServicer_to_server(Greeter(), server)
    add_EchoServicer_to_server(Echo(), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    # A lease is a grpc.Channel: make of it as many stubs as you like. Its close(), here at the
    # end of the block, ends this lease and leaves others alone.
    with grpc_guard.ChannelRegistry() as registry, registry.get(target) as channel:
        greeter, echo = GreeterStub(channel), EchoStub(channel)

        # A stream stays open ...
        said = threading.Event()

        def words() -> Iterator[Words]:
            yield Words(text="first")
            said.wait(timeout=10)
            yield Words(text="last")

        echoes = echo.SayAll(words(), timeout=10)
        print("echo:", next(echoes).text)

        # ... while RPCs of both services go through the same connection.
        hello = greeter.SayHello(HelloRequest(name="Ada"), timeout=10).message
        again = echo.Say(Words(text="hello again"), timeout=10).text
        print("greeter:", hello.partition("!")[0])
        print("echo:", again.partition(",")[0])
        print(
            "same connection:",
            hello.partition(" from ")[2] == again.partition(" says ")[2] + ".",
        )

        said.set()
        print("echo:", next(echoes).text)
        assert list(echoes) == []  # read a stream to its end, or cancel() it
        (record,) = registry.snapshot()
        print(f"{record.rpcs} RPCs of two services on one channel")

    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
