"""Real streams to measure: one server and one connection, of which each end is plain or guarded.

Plain and guarded use the same server and the same connection, so that only the guard differs: the
server has its methods twice, plain and guarded, and the guarded channel wraps the plain one.
Methods are registered in both ways, as in generated code, so that gRPC finds either equally
fast.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import queue
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import grpc
import grpc.aio

import grpc_guard

from ._measure import Block

SHAPES = {  # with the operations of one block
    "server stream": 200,  # messages of one RPC
    "client stream": 200,
    "bidi ping-pong": 100,  # a request and its response each, of one RPC
    "short streams": 12,  # RPCs of 1, 2, 3, 1, 2, 3 ... requests and as many responses
    "unary": 30,  # RPCs
}
GUARDED_ENDS = {  # (client, server)
    "plain": (False, False),
    "client only": (True, False),
    "server only": (False, True),
    "both": (True, True),
}
AIMS = {  # of the compiled core, with both ends guarded: the time of a plain RPC, times so much
    "sync server stream": 1.015,
    "sync bidi ping-pong": 1.015,
    "sync short streams": 1.035,
    "sync unary": 1.008,
    "aio server stream": 1.025,
    "aio bidi ping-pong": 1.035,
    "aio short streams": 1.055,
    "aio unary": 1.012,
}

_METHODS = {
    "server stream": ("unary_stream", "ServerStream"),
    "client stream": ("stream_unary", "ClientStream"),
    "bidi ping-pong": ("stream_stream", "Echo"),
    "short streams": ("stream_stream", "Echo"),
    "unary": ("unary_unary", "Unary"),
}
_UNLIMITED = [("grpc.max_receive_message_length", -1)]

Start = Callable[..., Any]  # a multi-callable


class Blocks(Protocol):
    """Makes blocks with messages of `size` bytes, for each guarded end."""

    def __call__(self, shape: str, size: int) -> dict[str, Block]: ...


def _register(server: Any, behaviors: dict[str, tuple[str, Any]]) -> None:
    guarded = grpc_guard.wrap(server)  # before the plain methods come, which it would guard too
    for service, registrar in (("Plain", server), ("Guarded", guarded)):
        handlers = {
            method: getattr(grpc, f"{arity}_rpc_method_handler")(behavior)
            for method, (arity, behavior) in behaviors.items()
        }
        registrar.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, handlers),)
        )
        registrar.add_registered_method_handlers(service, handlers)


def _starters(channel: Any, shape: str) -> dict[str, Start]:
    arity, method = _METHODS[shape]
    guarded = grpc_guard.wrap(channel)
    return {
        name: getattr(guarded if client else channel, arity)(
            f"/{'Guarded' if server else 'Plain'}/{method}"
        )
        for name, (client, server) in GUARDED_ENDS.items()
    }


@contextmanager
def sync_blocks() -> Iterator[Blocks]:
    """Start a sync server; yield what makes the blocks of a shape."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=_UNLIMITED)
    _register(
        server,
        {
            "ServerStream": ("unary_stream", _send_many),
            "ClientStream": ("stream_unary", lambda requests, _: _receive_many(requests)),
            "Echo": ("stream_stream", lambda requests, _: _echo(requests)),
            "Unary": ("unary_unary", lambda request, _: request),
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def blocks(shape: str, size: int) -> dict[str, Block]:
        act = _SYNC_ACTS[shape]
        return {
            name: lambda operations, start=start: act(start, bytes(size), operations)  # type: ignore[misc]
            for name, start in _starters(channel, shape).items()
        }

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=_UNLIMITED) as channel:
        yield blocks
    server.stop(None).wait()


def _send_many(request: bytes, context: Any) -> Iterator[bytes]:
    messages, size = map(int, request.split())
    return iter([bytes(size)] * messages)


def _receive_many(requests: Iterator[bytes]) -> bytes:
    for _ in requests:
        pass
    return b""


def _echo(requests: Iterator[bytes]) -> Iterator[bytes]:
    yield from requests


def _receive(start: Any, message: bytes, messages: int) -> None:
    for _ in start(b"%d %d" % (messages, len(message))):
        pass


def _send(start: Any, message: bytes, messages: int) -> None:
    start(itertools.repeat(message, messages))


def _play(start: Any, message: bytes, rounds: int) -> None:
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = start(iter(requests.get, None))
    for _ in range(rounds):
        requests.put(message)
        next(call)
    requests.put(None)
    for _ in call:
        pass


def _open_short(start: Any, message: bytes, streams: int) -> None:
    for length in itertools.islice(itertools.cycle((1, 2, 3)), streams):
        for _ in start(itertools.repeat(message, length)):
            pass


def _ask(start: Any, message: bytes, calls: int) -> None:
    for _ in range(calls):
        start(message)


_SYNC_ACTS: dict[str, Callable[[Any, bytes, int], None]] = {
    "server stream": _receive,
    "client stream": _send,
    "bidi ping-pong": _play,
    "short streams": _open_short,
    "unary": _ask,
}


@contextmanager
def aio_blocks() -> Iterator[Blocks]:
    """Start an asyncio server on its own loop; yield what makes the blocks of a shape."""
    loop = asyncio.new_event_loop()
    channel, server = loop.run_until_complete(_open_aio())

    def blocks(shape: str, size: int) -> dict[str, Block]:
        act = _AIO_ACTS[shape]
        return {
            name: lambda operations, start=start: loop.run_until_complete(  # type: ignore[misc]
                act(start, bytes(size), operations)
            )
            for name, start in _starters(channel, shape).items()
        }

    try:
        yield blocks
    finally:
        loop.run_until_complete(channel.close())
        loop.run_until_complete(server.stop(None))
        loop.close()


async def _open_aio() -> tuple[Any, Any]:
    server = grpc.aio.server(options=_UNLIMITED)
    _register(
        server,
        {
            "ServerStream": ("unary_stream", _send_many_async),
            "ClientStream": ("stream_unary", _receive_many_async),
            "Echo": ("stream_stream", _echo_async),
            "Unary": ("unary_unary", _answer_async),
        },
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_UNLIMITED), server


async def _send_many_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for message in _send_many(request, context):
        yield message


async def _receive_many_async(requests: AsyncIterator[bytes], context: Any) -> bytes:
    async for _ in requests:
        pass
    return b""


async def _echo_async(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _answer_async(request: bytes, context: Any) -> bytes:
    return request


async def _receive_async(start: Any, message: bytes, messages: int) -> None:
    async for _ in start(b"%d %d" % (messages, len(message))):
        pass


async def _send_async(start: Any, message: bytes, messages: int) -> None:
    call = start()
    for _ in range(messages):
        await call.write(message)
    await call.done_writing()
    await call


async def _play_async(start: Any, message: bytes, rounds: int) -> None:
    call = start()
    for _ in range(rounds):
        await call.write(message)
        await call.read()
    await call.done_writing()
    await call.read()


async def _open_short_async(start: Any, message: bytes, streams: int) -> None:
    for length in itertools.islice(itertools.cycle((1, 2, 3)), streams):
        call = start()
        for _ in range(length):
            await call.write(message)
        await call.done_writing()
        async for _ in call:
            pass


async def _ask_async(start: Any, message: bytes, calls: int) -> None:
    for _ in range(calls):
        await start(message)


_AIO_ACTS: dict[str, Callable[[Any, bytes, int], Awaitable[None]]] = {
    "server stream": _receive_async,
    "client stream": _send_async,
    "bidi ping-pong": _play_async,
    "short streams": _open_short_async,
    "unary": _ask_async,
}
