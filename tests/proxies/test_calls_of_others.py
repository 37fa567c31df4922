"""Calls of the program's own classes, which its interceptors return: they do their work, and refuse all else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from support.staging import (
    PATIENCE,
    aio_channel,
    aio_server,
    path,
    sync_channel,
    sync_server,
    within,
)

import grpc_guard
from grpc_guard import Finding

Found = Callable[[], list[Finding]]


class RefusedError(Exception):
    """An error of the program's."""


def refuse(*args: object, **kwargs: object) -> Any:
    raise RefusedError("not supported here")


QUESTIONS = (
    *("is_active", "add_callback", "add_done_callback", "done", "cancelled", "time_remaining"),
    *("code", "details", "initial_metadata", "trailing_metadata"),
)


class Refusing:
    """A sync call whose methods refuse."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        message: bytes = next(self.inner)
        return message


for question in QUESTIONS:
    setattr(Refusing, question, refuse)


class Strange(Refusing):
    """The same; whoever looks for what it lacks gets an error that Python does not expect there."""

    def __getattr__(self, name: str) -> Any:
        raise RefusedError(name)


class Between(grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor):  # type: ignore[misc]
    def __init__(self, kind: type[Refusing]) -> None:
        self.kind = kind

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self.kind(continuation(details, request))

    intercept_stream_stream = intercept_unary_stream


class OfAio(grpc.aio.StreamStreamCall):  # type: ignore[misc]
    """A call of grpc.aio that refuses."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __aiter__(self) -> Any:
        return self.inner.__aiter__()

    def __getattr__(self, name: str) -> Any:
        raise RefusedError(name)


for question in QUESTIONS:
    setattr(OfAio, question, refuse)
OfAio.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


class AioBetween(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return OfAio(await continuation(details, requests))


METHODS = {
    "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, context: requests),
    "Many": grpc.unary_stream_rpc_method_handler(lambda request, context: iter([request] * 2)),
}


async def echo(requests: Any, context: Any) -> None:
    async for request in requests:
        await context.write(request)


async def two() -> AsyncIterator[bytes]:
    yield b"1"
    yield b"2"


def read(channel: Any) -> list[list[bytes]]:
    calls = [
        channel.unary_stream(path("Many"))(b"1", timeout=PATIENCE),
        channel.stream_stream(path("Echo"))(iter((b"1", b"2")), timeout=PATIENCE),
    ]
    grpc_guard.snapshot()
    return [list(call) for call in calls]


EXPECTED = [[b"1", b"1"], [b"1", b"2"]]


@pytest.mark.parametrize("mode", [None, "raise", "serialize"])
@pytest.mark.parametrize("kind", [Refusing, Strange])
def test_sync_calls_that_refuse(kind: type[Refusing], mode: Any, found: Found) -> None:
    """They work as without the guard, and a snapshot does not fail for them."""
    with sync_server(METHODS) as address, sync_channel(address, mode=None) as plain:
        channel = grpc.intercept_channel(plain, Between(kind))
        assert read(channel if mode is None else grpc_guard.wrap(channel, mode=mode)) == EXPECTED
    assert found() == []


@pytest.mark.parametrize("mode", [None, "raise", "serialize"])
async def test_aio_calls_that_refuse(mode: Any, found: Found) -> None:
    """The same for grpc.aio."""
    methods = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    async with (
        aio_server(methods) as address,
        aio_channel(address, mode=mode, interceptors=[AioBetween()]) as channel,
    ):
        call = channel.stream_stream(path("Echo"))(two(), timeout=PATIENCE)
        messages = aiter(call)
        assert await within(anext(messages)) == b"1"
        grpc_guard.snapshot()
        assert await within(anext(messages)) == b"2"
    assert found() == []


@pytest.mark.parametrize("kind", [Refusing, Strange])
def test_sync_calls_of_a_lease(kind: type[Refusing], found: Found) -> None:
    """They work through a registry as well, though it does not learn when they end."""
    with sync_server(METHODS) as address, grpc_guard.ChannelRegistry() as registry:
        with registry.get(address, interceptors=[Between(kind)]) as lease:
            assert read(lease) == EXPECTED
    assert found() == []


async def test_aio_calls_of_a_lease(found: Found) -> None:
    """The same for grpc.aio."""
    methods = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    failed: list[str] = []  # grpcio's own callbacks do, as without the guard
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: failed.append(repr(context.get("handle")))
    )
    async with aio_server(methods) as address, grpc_guard.aio.ChannelRegistry() as registry:
        async with registry.get(address, interceptors=[AioBetween()]) as lease:
            call = lease.stream_stream(path("Echo"))(two(), timeout=PATIENCE)
            assert [message async for message in call] == [b"1", b"2"]
            del call
    assert [one for one in failed if "grpc_guard" in one] == []
    assert found() == []
