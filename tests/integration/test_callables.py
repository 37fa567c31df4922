"""Handlers of every kind of callable behave as without the guard."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparing import aio_connected, compare, compare_async, connected, outcome_of
from support.staging import path

UNARY_UNARY = grpc.unary_unary_rpc_method_handler
UNARY_STREAM = grpc.unary_stream_rpc_method_handler
STREAM_STREAM = grpc.stream_stream_rpc_method_handler


class Servicer:
    """Handlers of all kinds of callables."""

    def __init__(self, tag: bytes) -> None:
        self.tag = tag

    def __call__(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield self.tag + request

    @classmethod
    def of_class(cls, request: bytes, context: Any) -> Iterator[bytes]:
        yield cls.__name__.encode()

    @staticmethod
    def static(request: bytes, context: Any) -> list[bytes]:
        return [request, request]

    @functools.singledispatchmethod
    def dispatched(self, request: Any, context: Any) -> Iterator[bytes]:
        yield b"object"

    @dispatched.register
    def _(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"bytes"

    def delegating(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from self.sums(requests)

    def sums(self, requests: Iterator[bytes]) -> Iterator[bytes]:
        yield from map(b"%d".__mod__, itertools.accumulate(map(len, requests)))


def more(before: bytes, request: bytes, context: Any, *, after: bytes) -> Iterator[bytes]:
    yield before + request + after


def test_handlers_of_every_kind_of_callable() -> None:
    """Objects, methods, partials, dispatchers and functions that return what they were given."""
    servicer = Servicer(b"tag ")
    service = {
        "Object": UNARY_STREAM(servicer),
        "OfClass": UNARY_STREAM(servicer.of_class),
        "Static": UNARY_STREAM(servicer.static),
        "Dispatched": UNARY_STREAM(servicer.dispatched),
        "Partial": UNARY_STREAM(functools.partial(more, b"<", after=b">")),
        "Delegating": STREAM_STREAM(servicer.delegating),
        "Same": STREAM_STREAM(lambda requests, context: requests),
        "Groups": STREAM_STREAM(
            lambda requests, _: (key for key, _ in itertools.groupby(requests))
        ),
        "Wrong": UNARY_STREAM(lambda request: iter([request])),
        "None": UNARY_STREAM(lambda request, context: None),
    }

    def program() -> Any:
        with connected(service) as channel:
            seen = {}
            for name, handler in service.items():
                if handler.request_streaming:
                    call = channel.stream_stream(path(name))(iter([b"aa", b"aa", b"b"]))
                else:
                    call = channel.unary_stream(path(name))(b"x")
                seen[name] = outcome_of(call)
            return seen

    seen = compare(program)
    assert seen["Partial"] == [b"<x>"]
    assert seen["Delegating"] == [b"2", b"4", b"5"]
    assert seen["Groups"] == [b"aa", b"b"]
    assert seen["Wrong"][0][0] == grpc.StatusCode.UNKNOWN


class AioServicer:
    """The same in asyncio."""

    def __init__(self) -> None:
        self.log: list[str] = []

    @contextlib.asynccontextmanager
    async def resource(self, name: str) -> AsyncIterator[bytes]:
        self.log.append(f"open {name}")
        try:
            yield name.encode()
        finally:
            self.log.append(f"close {name}")

    async def with_resources(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        async with self.resource("a") as a, contextlib.AsyncExitStack() as stack:
            b = await stack.enter_async_context(self.resource("b"))
            for number in range(int(request)):
                yield b"%b%b%d" % (a, b, number)

    async def sums(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        total = 0
        async for request in requests:
            total += len(request)
            yield b"%d" % total

    async def delegating(self, requests: AsyncIterator[bytes], context: Any) -> Any:
        async with contextlib.aclosing(self.sums(requests)) as sums:
            async for message in sums:
                yield message

    async def by_anext(self, requests: AsyncIterator[bytes], context: Any) -> None:
        messages = aiter(requests)
        while (message := await anext(messages, None)) is not None:
            await context.write(message * 2)

    async def wrong(self, request: bytes) -> AsyncIterator[bytes]:
        yield request

    async def returning(self, request: bytes, context: Any) -> Any:
        return self.with_resources(request, context)


async def answer(before: bytes, request: bytes, context: Any, *, after: bytes) -> bytes:
    return before + request + after


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_asyncio_handlers_of_every_kind_of_callable() -> None:
    """Generators that hold resources, delegate, or are wrapped; partials; wrong ones."""

    async def program() -> Any:
        servicer = AioServicer()
        unary = functools.partial(answer, b"<", after=b">")
        service = {
            "WithResources": UNARY_STREAM(servicer.with_resources),
            "Delegating": STREAM_STREAM(servicer.delegating),
            "ByAnext": STREAM_STREAM(servicer.by_anext),
            "Wrong": UNARY_STREAM(servicer.wrong),
            "Returning": UNARY_STREAM(servicer.returning),
            "Partial": UNARY_UNARY(unary),
        }
        async with aio_connected(service) as channel:
            seen: dict[str, Any] = {}
            for name, handler in service.items():
                streams = channel.stream_stream, channel.unary_stream
                start = streams[not handler.request_streaming](path(name))
                if not handler.response_streaming:
                    continue
                request = iter([b"aa", b"b"]) if handler.request_streaming else b"2"
                try:
                    seen[name] = [message async for message in start(request)]
                except grpc.aio.AioRpcError as error:
                    seen[name] = error.code(), error.details()
            seen["Partial"] = await channel.unary_unary(path("Partial"))(b"x")
            return seen, servicer.log

    seen, log = compare_async(program)
    assert seen["WithResources"] == [b"ab0", b"ab1"]
    assert seen["Delegating"] == [b"2", b"3"]
    assert seen["ByAnext"] == [b"aaaa", b"bb"]
    assert log == ["open a", "open b", "close b", "close a"]
