"""What the tests of enable() share: a plain program, and what of grpcio can be patched."""

from __future__ import annotations

import importlib
import queue
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from grpc_guard import disable, status
from support.staging import aio_channel, aio_server, path, sync_channel, sync_server

_OWNERS = (
    "grpc",
    "grpc.aio",
    "grpc._channel",
    "grpc._server",
    "grpc.aio._channel",
    "grpc.aio._server",
)


def is_guarded(stream: Any) -> bool:
    try:
        status(stream)
    except TypeError:
        return False
    return True


def grpcio() -> dict[tuple[str, str], object]:
    """Return all that could be patched, as it is now: grpcio's names, its classes' attributes."""
    places: dict[tuple[str, str], object] = {}
    for name in _OWNERS:
        names = vars(importlib.import_module(name))
        places |= {(name, key): value for key, value in names.items() if not key.startswith("__")}
        for kind in names.values():
            if isinstance(kind, type) and kind.__module__ == name:
                places |= {(str(kind), key): value for key, value in vars(kind).items()}
    return places


def changed_since(before: dict[tuple[str, str], object]) -> list[tuple[str, str]]:
    """Return the places where something else stands now."""
    after = grpcio()
    return [place for place, value in before.items() if after[place] is not value]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave the guard off and grpcio as it was; fail a test that does not."""
    before = grpcio()
    yield
    disable()
    assert changed_since(before) == []


def _echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    yield b"guarded" if is_guarded(context) else b"plain"
    yield from requests


async def _aio_echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    yield b"guarded" if is_guarded(context) else b"plain"
    async for request in requests:
        yield request


METHODS = {"Echo": grpc.stream_stream_rpc_method_handler(_echo)}
AIO_METHODS = {"Echo": grpc.stream_stream_rpc_method_handler(_aio_echo)}


class Chat:
    """An open call of Echo, to which messages are given one by one; it goes when this does."""

    def __init__(self, echo: Any) -> None:
        self._outbox = queue.Queue[Any]()
        # Else gRPC's thread would wait for a message until this process ends.
        weakref.finalize(self, self._outbox.put, None)
        self.call = echo(iter(self._outbox.get, None))
        self.first = next(self.call)

    def say(self, message: bytes) -> None:
        self._outbox.put(message)

    def end(self) -> list[bytes]:
        """Half-close, and return what has not been read yet."""
        self._outbox.put(None)
        return list(self.call)


@contextmanager
def echo() -> Iterator[Any]:
    """Run a plain server and yield the multi-callable of Echo on a plain channel."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        yield channel.stream_stream(path("Echo"))


@asynccontextmanager
async def aio_echo() -> AsyncIterator[Any]:
    """Run a plain asyncio server and yield the multi-callable of Echo on a plain channel."""
    async with (
        aio_server(AIO_METHODS, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        yield channel.stream_stream(path("Echo"))
