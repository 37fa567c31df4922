"""Races of the asyncio api, each certain; prints how each of them went.

`main(wrap)` may guard channels and servers by hand.
"""

import asyncio
import gc

import grpc
from grpc import aio

PATIENCE = 20


async def both(first, second):
    """Begin `first`, then `second` while it is under way; tell what became of them."""
    outcomes = await asyncio.wait_for(
        asyncio.gather(first, second, return_exceptions=True), PATIENCE
    )
    return [
        outcome if isinstance(outcome, bytes) else type(outcome).__name__ for outcome in outcomes
    ]


async def read(stream):
    return await stream.read()


async def write(stream, message):
    await stream.write(message)


async def following(messages):
    return await anext(aiter(messages))


async def end(call):
    await call.done_writing()


class Service(grpc.GenericRpcHandler):
    def __init__(self):
        self.seen = None

    def service(self, handler_call_details):
        return {
            "Numbers": grpc.unary_stream_rpc_method_handler(self.numbers),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
            "Writers": grpc.unary_stream_rpc_method_handler(self.writers),
            "Readers": grpc.stream_unary_rpc_method_handler(self.readers),
        }[handler_call_details.method.split("/")[-1]]

    async def numbers(self, request, context):
        yield b"a"
        yield b"b"

    async def echo(self, requests, context):
        async for request in requests:
            yield request

    async def writers(self, request, context):
        self.seen = await both(write(context, b"a"), write(context, b"b"))

    async def readers(self, requests, context):
        self.seen = await both(read(context), read(context))
        return b"done"


async def races(channel, service):
    call = channel.unary_stream("/x/Numbers")(b"", timeout=PATIENCE)
    print("client read", await both(read(call), read(call)), await call.read())
    call = channel.unary_stream("/x/Numbers")(b"", timeout=PATIENCE)
    print("client async for", await both(following(call), following(call)))
    call = channel.stream_stream("/x/Echo")(timeout=PATIENCE)
    print("client write", await both(write(call, b"a"), write(call, b"b")))
    print("client done_writing", await both(write(call, b"c"), end(call)))
    await call.done_writing()
    print("echoed", [await call.read(), await call.read()], await call.read() is aio.EOF)
    call = channel.unary_stream("/x/Writers")(b"", timeout=PATIENCE)
    print("server write", [message async for message in call], service.seen)
    await channel.stream_unary("/x/Readers")(iter([b"a", b"b"]), timeout=PATIENCE)
    print("server read", service.seen)


async def run(wrap):
    service = Service()
    server = wrap(aio.server())
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with wrap(aio.insecure_channel(f"127.0.0.1:{port}")) as channel:
        await races(channel, service)
    await server.stop(None)


def main(wrap=lambda obj: obj):
    asyncio.run(run(wrap))
    gc.collect()  # an older grpcio hangs in its finalizers when the interpreter shuts down


if __name__ == "__main__":
    main()
