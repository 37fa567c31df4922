"""What the programs share: a server and a client that break the contract once, for certain."""

import asyncio
import atexit
import gc

import grpc
import grpc.aio

PATIENCE = 20
SECRET = "hunter2"  # in every place that a report must not show

# An older grpcio hangs if its finalizers run when the interpreter is shutting down already.
atexit.register(gc.collect)


async def _numbers(request, context):
    for number in range(3):
        yield f"{SECRET} {number}".encode()


class _Service(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        return grpc.unary_stream_rpc_method_handler(_numbers)


async def read(call):
    return await call.read()


async def collide():
    """Let two tasks read one call; print what the second got, and what the first then reads."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream("/test.Program/Numbers")(
            SECRET.encode(), metadata=[("authorization", SECRET)], timeout=PATIENCE
        )
        first = asyncio.create_task(read(call), name="reader-1")
        second = asyncio.create_task(read(call), name="reader-2")
        # Unguarded, one of them may never be answered: its RPC is ended for it.
        await asyncio.wait([first, second], timeout=2)
        ended = call.done() or (first.done() and second.done()) or call.cancel()
        assert ended
        outcomes = await asyncio.wait_for(
            asyncio.gather(first, second, return_exceptions=True), PATIENCE
        )
        print(*(type(outcome).__name__ for outcome in outcomes), flush=True)
        call.cancel()
    await server.stop(PATIENCE)  # without cancelling: grpcio may print where
