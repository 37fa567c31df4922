"""A service of all shapes, sync and aio, for the acts of test_transparency_*.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import grpc
import grpc.aio

from support.comparison import AioWorld, World, what_async
from support.staging import PATIENCE, path, wait

# A service of all shapes, sync


class Service:
    """The handlers of a sync server, and what they saw."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.seen: list[Any] = []

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
            "Numbers": grpc.unary_stream_rpc_method_handler(self.numbers),
            "Hold": grpc.unary_stream_rpc_method_handler(self.hold),
            "Fail": grpc.unary_stream_rpc_method_handler(self.fail),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Refuse": grpc.stream_unary_rpc_method_handler(self.refuse),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
        }

    def numbers(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Send as many messages as `request` says, and metadata."""
        self.seen.append(context.invocation_metadata())
        context.send_initial_metadata((("key", "initial"),))
        context.set_trailing_metadata((("key", "trailing"),))
        for number in range(int(request)):
            yield b"%d" % number

    def hold(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Send one message and then nothing, until the RPC is cancelled."""
        context.add_callback(self.cancelled.set)
        yield b"0"
        wait(self.cancelled)

    def fail(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Send one message and then an error."""
        yield b"0"
        if request == b"abort":
            context.set_trailing_metadata((("key", "trailing"),))
            context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        raise ValueError("broken")

    def count(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Count the messages that come."""
        self.seen.append(context.invocation_metadata())
        context.set_trailing_metadata((("key", "trailing"),))
        return b"%d" % sum(1 for _ in requests)

    def refuse(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Abort with an error."""
        next(requests)
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        raise AssertionError

    def echo(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Send back each message as it comes."""
        context.add_callback(self.cancelled.set)
        yield from requests


# and aio


class AioService:
    """The handlers of an aio server, and what they saw."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.seen: list[Any] = []

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        async def unary(request: bytes, context: Any) -> bytes:
            return request

        return {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Numbers": grpc.unary_stream_rpc_method_handler(self.numbers),
            "Hold": grpc.unary_stream_rpc_method_handler(self.hold),
            "Fail": grpc.unary_stream_rpc_method_handler(self.fail),
            "Count": grpc.stream_unary_rpc_method_handler(self.count),
            "Refuse": grpc.stream_unary_rpc_method_handler(self.refuse),
            "Echo": grpc.stream_stream_rpc_method_handler(self.echo),
        }

    async def numbers(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Send as many messages as `request` says, and metadata."""
        self.seen.append(context.invocation_metadata())
        await context.send_initial_metadata((("key", "initial"),))
        context.set_trailing_metadata((("key", "trailing"),))
        for number in range(int(request)):
            yield b"%d" % number

    async def hold(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Send one message and then nothing, until the RPC is cancelled, be it in the sending."""
        try:
            yield b"0"
            await asyncio.sleep(PATIENCE)
        finally:
            self.cancelled.set()

    async def fail(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Send one message and then an error."""
        yield b"0"
        if request == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone", (("key", "trailing"),))
        raise ValueError("broken")

    async def count(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Count the messages that come."""
        self.seen.append(context.invocation_metadata())
        context.set_trailing_metadata((("key", "trailing"),))
        return b"%d" % len([request async for request in requests])

    async def refuse(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Abort with an error."""
        await context.read()
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        raise AssertionError

    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Send back each message as it comes."""
        try:
            async for request in requests:
                yield request
        finally:
            self.cancelled.set()


# One handler, and what the client gets from it


STREAMING = {
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


def handled(world: World, shape: str, behavior: Callable[..., Any], **options: Any) -> Any:
    """Call `behavior`, the handler of a method of this shape; return what the client gets."""
    channel = world.channel({"Method": STREAMING[shape](behavior)}, **options)
    start = getattr(channel, shape)(path("Method"))
    request = b"a" if shape == "unary_stream" else iter([b"a", b"b"])
    try:
        if shape == "stream_unary":
            response, call = start.with_call(request)
            return response, call.code(), call.details(), call.trailing_metadata()
        call = start(request)
        return list(call), call.code(), call.details(), call.trailing_metadata()
    except grpc.RpcError as error:
        return error, error.trailing_metadata()


async def handled_async(world: AioWorld, shape: str, behavior: Callable[..., Any]) -> Any:
    """Call `behavior`, the handler of a method of this shape; return what the client gets."""
    channel = await world.channel({"Method": STREAMING[shape](behavior)})
    call = getattr(channel, shape)(path("Method"))(
        b"a" if shape == "unary_stream" else [b"a", b"b"]
    )
    try:
        if shape == "stream_unary":
            got: Any = await call
        else:
            got = [message async for message in call]
    except grpc.RpcError as error:
        got = error
    return got, await call.code(), await call.details(), await call.trailing_metadata()


async def drain(requests: Any) -> None:
    """Read the requests, if there are many: a client that sends still may see another end."""
    if hasattr(requests, "__aiter__"):
        async for _ in requests:
            pass


class _Status(NamedTuple):
    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str], ...]


class Status(_Status, grpc.Status):
    """A status to abort with."""


# What a call shows


async def ending_async(call: Any) -> AsyncIterator[Any]:
    """What a call that has ended shows."""
    for method in ("code", "details", "debug_error_string"):
        yield method, await what_async(getattr(call, method)())
    yield "metadata", await call.initial_metadata(), await call.trailing_metadata()
    yield "state", call.done(), call.cancelled(), call.cancel(), call.time_remaining()
    yield "repr", repr(call), str(call), f"{call}"
    yield "connection", await what_async(call.wait_for_connection())
    if hasattr(call, "read"):
        yield "read", await what_async(call.read()), await what_async(call.read())
    if hasattr(call, "write"):
        yield "write", await what_async(call.write(b"")), await what_async(call.done_writing())
    if hasattr(call, "__await__"):
        yield "await", await what_async(call), await what_async(call)
