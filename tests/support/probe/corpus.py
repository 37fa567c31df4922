"""Programs to try the probe on: what they run on, and how to run them.

A program is a client on a server that keeps the contract, or a handler that such a
client calls. They wait by their stage alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio

from support.probe.scheduling import Stage
from support.staging import aio_channel, aio_server, path, run, sync_channel, sync_server

MESSAGES = 60  # that a stream has, more than any program takes


@dataclasses.dataclass(frozen=True)
class Program:
    """A program: its name, its side and api, and what does it."""

    name: str
    side: str
    api: str
    body: Callable[..., Any]

    def __call__(self, stage: Stage) -> None:
        """Run it to its end."""
        if self.api == "sync":
            (_run_client if self.side == "client" else _run_handler)(self.body, stage)
        else:
            start = _run_client_async if self.side == "client" else _run_handler_async
            run(start(self.body, stage))


class Corpus(dict[str, Program]):
    """Programs by name."""

    def add(self, side: str, api: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def adding(body: Callable[..., Any]) -> Callable[..., Any]:
            self[body.__name__] = Program(body.__name__, side, api, body)
            return body

        return adding


def messages() -> Iterator[bytes]:
    return (b"%d" % number for number in range(MESSAGES))


# A server and its clients that keep the contract


def _count(request: bytes, context: Any) -> Iterator[bytes]:
    return messages()


def _echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield from requests


async def _count_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for message in messages():
        yield message


async def _echo_async(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


def _methods(count: Any, echo: Any) -> dict[str, Any]:
    return {
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }


def _run_client(body: Callable[..., Any], stage: Stage) -> None:
    with (
        sync_server(_methods(_count, _echo), mode=None) as address,
        sync_channel(address, mode=None) as channel,
    ):
        body(stage, lambda: channel.unary_stream(path("Count"))(b""))


async def _run_client_async(body: Callable[..., Any], stage: Stage) -> None:
    async with (
        aio_server(_methods(_count_async, _echo_async), mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        await body(stage, channel)


def _run_handler(body: Callable[..., Any], stage: Stage) -> None:
    def handle(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        return iter(body(stage, requests, context) or ())

    methods = {"Handle": grpc.stream_stream_rpc_method_handler(handle)}
    with sync_server(methods, mode=None) as address, sync_channel(address, mode=None) as channel:
        with contextlib.suppress(grpc.RpcError):
            for _ in channel.stream_stream(path("Handle"))(messages()):
                pass


async def _run_handler_async(body: Callable[..., Any], stage: Stage) -> None:
    handle: Any
    if hasattr(body, "yields"):

        async def handle(requests: Any, context: Any) -> AsyncIterator[bytes]:
            async for message in body(stage, requests, context):
                yield message
    else:

        async def handle(requests: Any, context: Any) -> None:
            await body(stage, requests, context)

    methods = {"Handle": grpc.stream_stream_rpc_method_handler(handle)}
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.stream_stream(path("Handle"))()
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            for message in messages():
                await call.write(message)
            await call.done_writing()
            while await call.read() is not grpc.aio.EOF:
                pass
