"""Two services on one server, their stubs on one channel, with asyncio.

    python docs/examples/multiplex/tasks.py

Compare threads.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from multiplex_pb2 import HelloReply, HelloRequest, Words
from multiplex_pb2_grpc import (
    EchoServicer,
    EchoStub,
    GreeterServicer,
    GreeterStub,
    add_EchoServicer_to_server,
    add_GreeterServicer_to_server,
)

import grpc_guard.aio

# The server


class Greeter(GreeterServicer):
    async def SayHello(
        self, request: HelloRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> HelloReply:
        return HelloReply(message=f"Hello, {request.name}! You come from {context.peer()}.")


class Echo(EchoServicer):
    async def Say(self, request: Words, context: grpc.aio.ServicerContext[Any, Any]) -> Words:
        return Words(text=f"{request.text}, says {context.peer()}")

    async def SayAll(
        self, requests: AsyncIterator[Words], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Words]:
        async for words in requests:
            yield words


# The client


async def main() -> None:
    server = grpc.aio.server()
    add_GreeterServicer_to_server(Greeter(), server)
    add_EchoServicer_to_server(Echo(), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()

    # A lease is a grpc.aio.Channel: make of it as many stubs as you like. Its close(), here at the
    # end of the block, ends this lease and leaves others alone.
    async with grpc_guard.aio.ChannelRegistry() as registry, registry.get(target) as channel:
        greeter, echo = GreeterStub(channel), EchoStub(channel)

        # A stream stays open ...
        echoes = echo.SayAll(timeout=10)
        await echoes.write(Words(text="first"))
        print("echo:", (await echoes.read()).text)

        # ... while RPCs of both services go through the same connection, side by side.
        hello, again = await asyncio.gather(
            greeter.SayHello(HelloRequest(name="Ada"), timeout=10),
            echo.Say(Words(text="hello again"), timeout=10),
        )
        print("greeter:", hello.message.partition("!")[0])
        print("echo:", again.text.partition(",")[0])
        asked_from = hello.message.partition(" from ")[2]
        print("same connection:", asked_from == again.text.partition(" says ")[2] + ".")

        await echoes.write(Words(text="last"))
        await echoes.done_writing()
        print("echo:", (await echoes.read()).text)
        assert await echoes.read() is grpc.aio.EOF  # read a stream to its end, or cancel() it
        (record,) = registry.snapshot()
        print(f"{record.rpcs} RPCs of two services on one channel")

    await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(main())
