"""Every guarded object there is, while streams of all shapes are open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio

from grpc_guard import ChannelRegistry, aio, wrap
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    path,
    sync_channel,
    sync_server,
    wait,
    within,
)


@contextmanager
def sync_stage() -> Iterator[dict[str, Any]]:
    """Every guarded object of ``grpc``, while streams of all shapes are open.

    They stay open for as long as the block takes, on a machine of any speed.
    """
    objects: dict[str, Any] = {}
    leave, inside = threading.Event(), threading.Barrier(5)

    def keep(shape: str, requests: Any, context: Any) -> None:
        objects[f"context {shape}"] = context
        if shape != "unary_stream":
            objects[f"request_iterator {shape}"] = requests
        inside.wait(PATIENCE)
        leave.wait()

    def responses(shape: str) -> Callable[..., Any]:
        def handler(requests: Any, context: Any) -> Iterator[bytes]:
            yield b"0"
            keep(shape, requests, context)

        return handler

    def single(requests: Any, context: Any) -> bytes:
        keep("stream_unary", requests, context)
        return b""

    def requests() -> Iterator[bytes]:
        yield b"0"
        leave.wait()

    methods = {
        "UnaryStream": grpc.unary_stream_rpc_method_handler(responses("unary_stream")),
        "StreamStream": grpc.stream_stream_rpc_method_handler(responses("stream_stream")),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(single),
    }
    with (
        sync_server(methods) as address,
        sync_channel(address) as channel,
        sync_channel(address, single_threaded=True) as single_threaded,
    ):
        objects["channel"] = channel
        objects["server"] = wrap(grpc.server(ThreadPoolExecutor()))
        for shape in ("unary_stream", "stream_stream", "stream_unary"):
            name = "".join(word.title() for word in shape.split("_"))
            objects[f"multi-callable {shape}"] = getattr(channel, shape)(path(name))
        objects["call unary_stream"] = objects["multi-callable unary_stream"](b"")
        objects["call stream_stream"] = objects["multi-callable stream_stream"](requests())
        objects["call single-threaded"] = single_threaded.unary_stream(path("UnaryStream"))(b"")
        objects["future"] = objects["multi-callable stream_unary"].future(requests())
        try:
            for name in ("call unary_stream", "call stream_stream", "call single-threaded"):
                next(objects[name])
            inside.wait(PATIENCE)
            yield objects
        finally:
            leave.set()


@asynccontextmanager
async def aio_stage() -> AsyncIterator[dict[str, Any]]:
    """Every guarded object of ``grpc.aio``, while streams of all shapes are open, as above."""
    objects: dict[str, Any] = {}
    leave, inside = asyncio.Event(), asyncio.Semaphore(0)
    in_thread, thread_leaves = threading.Event(), threading.Event()

    def handler(shape: str) -> Callable[..., Any]:
        async def handle(requests: Any, context: Any) -> Any:
            objects[f"context {shape}"] = context
            if shape != "unary_stream":
                objects[f"request_iterator {shape}"] = requests
            inside.release()
            await leave.wait()

        return handle

    def in_pool(requests: Any, context: Any) -> Iterator[bytes]:
        objects["context in the pool"] = context
        objects["request_iterator in the pool"] = requests
        in_thread.set()
        thread_leaves.wait()
        yield from ()

    methods = {
        "UnaryStream": grpc.unary_stream_rpc_method_handler(handler("unary_stream")),
        "StreamStream": grpc.stream_stream_rpc_method_handler(handler("stream_stream")),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(handler("stream_unary")),
        "Pool": grpc.stream_stream_rpc_method_handler(in_pool),
    }

    async def requests() -> AsyncIterator[bytes]:
        yield b"0"
        await leave.wait()

    async with aio_server(methods) as address, aio_channel(address) as channel:
        objects["channel"] = channel
        objects["server"] = wrap(grpc.aio.server())
        for shape in ("unary_unary", "unary_stream", "stream_stream", "stream_unary"):
            name = "".join(word.title() for word in shape.split("_"))
            objects[f"multi-callable {shape}"] = getattr(channel, shape)(path(name))
        objects["call unary_stream"] = objects["multi-callable unary_stream"](b"")
        for shape in ("stream_stream", "stream_unary"):
            objects[f"call {shape} by write"] = objects[f"multi-callable {shape}"]()
            objects[f"call {shape} by iterator"] = objects[f"multi-callable {shape}"](requests())
        objects["messages"] = objects["multi-callable unary_stream"](b"").__aiter__()
        pool = channel.stream_stream(path("Pool"))()
        try:
            for _ in range(6):
                await within(inside.acquire())
            await asyncio.get_running_loop().run_in_executor(None, wait, in_thread)
            yield objects
        finally:
            leave.set()
            thread_leaves.set()
            pool.cancel()
            for name, call in objects.items():
                if name.startswith("call"):
                    call.cancel()


# A lease is no proxy: what it shall look like is a channel of grpcio beside it.

_ARITIES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
_TARGET = "127.0.0.1:1"  # no client connects


def _twins(channel: Any, lease: Any) -> dict[str, tuple[Any, Any]]:
    return {
        **{
            arity: tuple(getattr(x, arity)(path("Any")) for x in (channel, lease))
            for arity in _ARITIES
        },
        "lease": (channel, lease),  # the last one: doubles of it may have been closed
    }


@contextmanager
def sync_twins() -> Iterator[dict[str, tuple[Any, Any]]]:
    """A channel of ``grpc`` and a lease, and the multi-callables of both."""
    with sync_channel(_TARGET, mode=None) as channel, ChannelRegistry() as registry:
        yield _twins(channel, registry.get(_TARGET))


@asynccontextmanager
async def aio_twins() -> AsyncIterator[dict[str, tuple[Any, Any]]]:
    """A channel of ``grpc.aio`` and a lease, and the multi-callables of both."""
    async with aio_channel(_TARGET, mode=None) as channel, aio.ChannelRegistry() as registry:
        yield _twins(channel, registry.get(_TARGET))
