"""grpc-interceptor: its client interceptor, and its server interceptors, sync and aio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparing import (
    AIO_READING_SERVICE,
    AIO_SERVICE,
    SYNC_SERVICE,
    aio_connected,
    compare,
    compare_async,
    connected,
    converse,
    converse_async,
    outcome_of,
)
from support.staging import path

grpc_interceptor = pytest.importorskip("grpc_interceptor")
exceptions = pytest.importorskip("grpc_interceptor.exceptions")


class NotingClient(grpc_interceptor.ClientInterceptor):
    """Notes the methods that are called, and sends metadata along."""

    def __init__(self) -> None:
        self.methods: list[str] = []

    def intercept(self, method: Callable[..., Any], requests: Any, details: Any) -> Any:
        self.methods.append(details.method)
        return method(
            requests,
            grpc_interceptor.ClientCallDetails(
                details.method,
                details.timeout,
                [("from", "interceptor")],
                details.credentials,
                details.wait_for_ready,
                details.compression,
            ),
        )


class NotingServer(grpc_interceptor.ServerInterceptor):
    """Notes each method, and each response of those that stream them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def intercept(
        self, method: Callable[..., Any], request: Any, context: Any, method_name: str
    ) -> Any:
        self.seen.append((method_name, dict(context.invocation_metadata()).get("from")))
        responses = method(request, context)
        return self._note(responses) if hasattr(responses, "__next__") else responses

    def _note(self, responses: Iterator[Any]) -> Iterator[Any]:
        for response in responses:
            self.seen.append(response)
            yield response


class NotingAioServer(grpc_interceptor.AsyncServerInterceptor):
    """Notes each method, and each response of those that yield them."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def intercept(
        self, method: Callable[..., Any], request: Any, context: Any, method_name: str
    ) -> Any:
        self.seen.append(method_name)
        responses = method(request, context)
        return self._note(responses) if hasattr(responses, "__aiter__") else await responses

    async def _note(self, responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for response in responses:
            self.seen.append(response)
            yield response


def test_sync_interceptors() -> None:
    """Client and server interceptors see the same calls and messages."""

    def program() -> Any:
        client, server = NotingClient(), NotingServer()
        with connected(SYNC_SERVICE, interceptors=[server]) as channel:
            seen = converse(grpc.intercept_channel(channel, client))
        return seen, client.methods, server.seen

    _, methods, seen = compare(program)
    assert path("Echo") in methods
    assert (path("Echo"), "interceptor") in seen
    assert b"echo 0" in seen


@pytest.mark.parametrize("service", [AIO_SERVICE, AIO_READING_SERVICE], ids=["yield", "write"])
def test_aio_server_interceptor(service: Any) -> None:
    """A server interceptor sees the same calls and messages."""

    async def program() -> Any:
        server = NotingAioServer()
        async with aio_connected(service, interceptors=[server]) as channel:
            return await converse_async(channel), server.seen

    _, seen = compare_async(program)
    assert path("Echo") in seen
    assert b"0" in seen


def _lost(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"one"
    raise exceptions.NotFound("lost")


async def _aio_lost(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"one"
    raise exceptions.NotFound("lost")


def test_exceptions_become_statuses_on_a_sync_server() -> None:
    """What a streaming handler raises after its first message becomes the same status."""
    methods = {"Lost": grpc.unary_stream_rpc_method_handler(_lost)}

    def program() -> Any:
        interceptor = grpc_interceptor.ExceptionToStatusInterceptor()
        with connected(methods, interceptors=[interceptor]) as channel:
            return outcome_of(channel.unary_stream(path("Lost"))(b""))

    assert compare(program) == [b"one", (grpc.StatusCode.NOT_FOUND, "lost")]


def test_exceptions_become_statuses_on_an_aio_server() -> None:
    """What a streaming handler raises after its first message becomes the same status."""
    methods = {"Lost": grpc.unary_stream_rpc_method_handler(_aio_lost)}

    async def program() -> Any:
        interceptor = grpc_interceptor.AsyncExceptionToStatusInterceptor()
        async with aio_connected(methods, interceptors=[interceptor]) as channel:
            call = channel.unary_stream(path("Lost"))(b"")
            first = await call.read()
            return first, await call.code(), await call.details()

    assert compare_async(program) == (b"one", grpc.StatusCode.NOT_FOUND, "lost")
