"""What the tests of the registries share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from inside import Connection

from grpc_guard import ChannelRegistry, aio
from support.services import Service
from support.staging import PATIENCE, path, sync_server, wait, within


class Stub:
    """A stub of the service in services.py, as generated code makes it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.unary = channel.unary_unary(path("Unary"), _registered_method=True)
        self.numbers = channel.unary_stream(path("Numbers"), _registered_method=True)
        self.hold = channel.unary_stream(path("Hold"), _registered_method=True)
        self.count = channel.stream_unary(path("Count"), _registered_method=True)
        self.echo = channel.stream_stream(path("Echo"), _registered_method=True)


class Holding(Service):
    """services.py with streams that end one by one."""

    def hold(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Send one message and then nothing, until this RPC is cancelled."""
        ended = threading.Event()
        context.add_callback(ended.set)
        context.add_callback(self.cancelled.set)
        yield b"0"
        wait(ended)

    def echo(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Send back each message as it comes."""
        yield from requests


@contextmanager
def serving() -> Iterator[tuple[str, Service]]:
    """Serve services.py on 127.0.0.1, plain; yield the address and the service."""
    service = Holding()
    with sync_server(service.methods(), mode=None) as address:
        yield address, service


def settled(lease: Any) -> None:
    """Wait until no RPC that was started on `lease` lives."""
    over = threading.Event()
    if lease._record.watch(over.set):
        wait(over)
    lease._record.on_last_rpc = ()


def at_rest(registry: ChannelRegistry) -> None:
    """Wait until the registry has closed all channels and its thread has gone."""
    thread = registry._cleanup.thread
    if thread is not None:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the cleanup does not leave"


def closing_of(connection: Connection) -> threading.Event:
    """Return an event that comes when the channel of `connection` has been closed."""
    closed = threading.Event()
    close = connection.channel.close

    def tell() -> None:
        close()
        closed.set()

    connection.channel.close = tell
    return closed


def connections(registry: ChannelRegistry) -> list[Connection]:
    """Return what the registry keeps open."""
    entries = registry._cleanup.pool._entries.values()
    return [connection for entry in entries for connection in entry.connections]


def aio_connections(registry: aio.ChannelRegistry) -> list[Connection]:
    """Return what the registry keeps open."""
    return [
        connection
        for loop_pool in registry._loop_pools.values()
        for entry in loop_pool.pool._entries.values()
        for connection in entry.connections
    ]


def aio_closing_of(connection: Connection) -> asyncio.Event:
    """Return an event that comes when the channel of `connection` has been closed."""
    closed = asyncio.Event()
    close = connection.channel.close

    async def tell() -> None:
        await close()
        closed.set()

    connection.channel.close = tell
    return closed


async def aio_settled(lease: Any) -> None:
    """Wait until no RPC that was started on `lease` lives."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    if lease._record.watch(lambda: loop.call_soon_threadsafe(over.set)):
        await within(over.wait())
    lease._record.on_last_rpc = ()


class CountingInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """Counts the RPCs that pass."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.seen.append(details.method)
        return continuation(details, request)

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        self.seen.append(details.method)
        return continuation(details, requests)
