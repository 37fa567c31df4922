"""What the tests of the registries share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from services import Service
from support import PATIENCE, path, sync_server, wait

from grpc_guard import ChannelRegistry
from grpc_guard._registry.tenants import Connection


class Stub:
    """A stub of the service in services.py, as generated code makes it."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.unary = channel.unary_unary(path("Unary"), _registered_method=True)
        self.numbers = channel.unary_stream(path("Numbers"), _registered_method=True)
        self.hold = channel.unary_stream(path("Hold"), _registered_method=True)
        self.count = channel.stream_unary(path("Count"), _registered_method=True)
        self.echo = channel.stream_stream(path("Echo"), _registered_method=True)


@contextmanager
def serving() -> Iterator[tuple[str, Service]]:
    """Serve services.py on 127.0.0.1, plain; yield the address and the service."""
    service = Service()
    with sync_server(service.methods(), mode=None) as address:
        yield address, service


def settled(lease: Any) -> None:
    """Wait until no RPC that was started on `lease` lives."""
    over = threading.Event()
    if lease._tenant.watch(over.set):
        wait(over)
    lease._tenant.on_last_rpc = None


def at_rest(registry: ChannelRegistry) -> None:
    """Wait until the registry has closed all channels and its thread has gone."""
    thread = registry._janitor.thread
    if thread is not None:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the janitor does not leave"


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
    entries = registry._janitor.pool._entries.values()
    return [connection for entry in entries for connection in entry.connections]


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
