"""Interceptors of a server stand between gRPC and the handler: the RPC ends when they do."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import core_fields
from support.around import RPC, AioAround, Around, methods, write_refused_beside_yield
from support.comparison import no_collector
from support.stage import BULK, NARROW
from support.staging import (
    AsyncGate,
    Gate,
    Party,
    aio_channel,
    aio_server,
    in_thread,
    path,
    settle,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError, Finding

Found = Callable[[], list[Finding]]
# Asyncio. What a handler leaves to its interceptor: to be awaited, or called, behind it

_left: contextvars.ContextVar[list[Any]] = contextvars.ContextVar("left")


def finishing(behavior: Any) -> Any:
    async def run(request: Any, context: Any) -> None:
        left: list[Any] = []
        _left.set(left)
        await behavior(request, context)
        for one in left:
            await one()

    return run


def finishing_generator(behavior: Any) -> Any:
    async def run(request: Any, context: Any) -> AsyncIterator[bytes]:
        left: list[Any] = []
        _left.set(left)
        async for response in behavior(request, context):
            yield response
        for one in left:
            await one()

    return run


async def use(context: Any) -> None:
    assert context.peer()
    context.set_trailing_metadata((("used", "late"),))
    await context.write(b"late")


async def in_own_task(context: Any) -> None:
    task = asyncio.create_task(use(context))
    _left.get().append(lambda: task)


async def in_task_of_rpc(context: Any) -> None:
    _left.get().append(lambda: use(context))


@pytest.mark.parametrize("leave", [in_own_task, in_task_of_rpc])
@pytest.mark.parametrize("kind", ["coroutine", "generator"])
async def test_what_a_handler_leaves_to_its_interceptor(
    kind: str, leave: Any, found: Found
) -> None:
    """While an interceptor keeps the RPC open, the stream objects of the handler may be used."""

    async def coroutine(request: bytes, context: Any) -> None:
        await context.write(b"0")
        await leave(context)

    async def generator(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"0"
        await leave(context)

    behavior, runs = (
        (coroutine, finishing) if kind == "coroutine" else (generator, finishing_generator)
    )
    interceptor = AioAround("unary_stream", runs)
    async with (
        aio_server(methods("unary_stream", behavior), interceptors=[interceptor]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        assert [message async for message in call] == [b"0", b"late"]
        assert dict(await within(call.trailing_metadata()))["used"] == "late"
    assert found() == []


async def test_what_is_left_in_the_first_step(found: Found) -> None:
    """The same before the task of the RPC has waited for the first time."""

    async def look(context: Any) -> None:
        assert context.peer()

    async def behavior(requests: Any, context: Any) -> bytes:
        _left.get().append(lambda: look(context))
        return b"0"

    def runs(plain: Any) -> Any:
        async def run(requests: Any, context: Any) -> bytes:
            left: list[Any] = []
            _left.set(left)
            response: bytes = await plain(requests, context)
            for one in left:
                await one()
            return response

        return run

    interceptor = AioAround("stream_unary", runs)
    async with (
        aio_server(methods("stream_unary", behavior), interceptors=[interceptor]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert await within(channel.stream_unary(RPC)([])) == b"0"
    assert found() == []


class Wrapped:
    """An interceptor's own context, around that of gRPC or of another interceptor."""

    def __init__(self, context: Any) -> None:
        self._contexts = [context]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._contexts[0], name)


def wrapping(behavior: Any) -> Any:
    async def run(request: Any, context: Any) -> None:
        await behavior(request, Wrapped(context))

    return run


@pytest.mark.parametrize("is_counted", [False, True])
async def test_a_context_that_interceptors_wrap(
    is_counted: bool, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC's own context is found in those that interceptors put around it."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    runs = [AioAround("unary_stream", one) for one in (finishing, wrapping, wrapping, wrapping)]
    async with (
        aio_server(methods("unary_stream", leaving), interceptors=runs) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert [message async for message in channel.unary_stream(RPC)(b"")] == [b"late"]
    assert found() == []


async def leaving(request: bytes, context: Any) -> None:
    await in_own_task(context)


async def test_an_interceptor_that_routes(found: Found) -> None:
    """The RPC has another name on the wire than the method that handles it."""

    class Routing(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = await continuation(type(details)(RPC, details.invocation_metadata))
            return grpc.unary_stream_rpc_method_handler(finishing(handler.unary_stream))

    async with (
        aio_server(methods("unary_stream", leaving), interceptors=[Routing()]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.unary_stream(path("Old"))(b"")
        assert [message async for message in call] == [b"late"]
    assert found() == []


async def test_an_interceptor_that_has_more_responses(found: Found) -> None:
    """While gRPC sends what an interceptor adds, and will ask it for more, the RPC is open."""
    sent, used = AsyncGate(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    def runs(behavior: Any) -> Any:
        async def run(request: Any, context: Any) -> AsyncIterator[bytes]:
            async for response in behavior(request, context):
                yield response
            sent.arrive()
            yield BULK
            await asyncio.gather(*tasks)
            yield b"2"

        return run

    async def look(context: Any) -> None:
        await sent.park()
        assert context.peer()
        used.set()

    async def behavior(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"0"
        tasks.append(asyncio.create_task(look(context)))

    interceptor = AioAround("unary_stream", runs)
    async with (
        aio_server(methods("unary_stream", behavior), interceptors=[interceptor]) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        assert await within(call.read()) == b"0"
        await sent.wait()
        await settle()
        sent.open()
        await within(used.wait())
        assert await within(call.read()) == BULK
        assert await within(call.read()) == b"2"
    assert found() == []


async def test_use_behind_an_interceptor_that_has_ended(found: Found) -> None:
    """What a handler has let out is refused once its interceptor has ended, too."""
    out = asyncio.get_running_loop().create_future()

    async def behavior(request: bytes, context: Any) -> None:
        out.set_result(context)

    interceptor = AioAround("unary_stream", lambda plain: plain)
    async with (
        aio_server(methods("unary_stream", behavior), interceptors=[interceptor]) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert [message async for message in channel.unary_stream(RPC)(b"")] == []
        context = await within(out)
        with pytest.raises(ConcurrencyError, match="handler-returned"):
            await context.write(b"late")
    assert len(found()) == 1


# Asyncio. What a handler yields, while its interceptor holds it back, or hands it on


async def write(context: Any, begin: asyncio.Event, message: bytes) -> None:
    await begin.wait()
    await context.write(message)


@pytest.mark.parametrize("mode", ["raise", "warn", "serialize"])
async def test_a_response_that_an_interceptor_holds_back(mode: str, found: Found) -> None:
    """Nothing is written while the interceptor has what was yielded: the handler's task may write."""
    held, tasks = asyncio.Event(), list[asyncio.Task[None]]()

    def runs(behavior: Any) -> Any:
        async def run(request: Any, context: Any) -> AsyncIterator[bytes]:
            async for response in behavior(request, context):
                held.set()
                await asyncio.gather(*tasks)
                yield response

        return run

    async def behavior(request: bytes, context: Any) -> AsyncIterator[bytes]:
        tasks.append(asyncio.create_task(write(context, held, b"first")))
        yield b"second"

    interceptor = AioAround("unary_stream", runs)
    async with (
        aio_server(
            methods("unary_stream", behavior), mode=mode, interceptors=[interceptor]
        ) as address,
        aio_channel(address, mode=None) as channel,
    ):
        messages = [message async for message in channel.unary_stream(RPC)(b"")]
    assert messages == [b"first", b"second"]
    assert found() == []


async def test_a_response_that_an_interceptor_writes(found: Found) -> None:
    """An interceptor may write what was yielded itself: then it is on its way."""
    yielded, tasks = asyncio.Event(), list[asyncio.Task[None]]()

    def runs(behavior: Any) -> Any:
        async def run(request: Any, context: Any) -> None:
            async for response in behavior(request, context):
                yielded.set()
                await context.write(response)

        return run

    async def behavior(request: bytes, context: Any) -> AsyncIterator[bytes]:
        tasks.append(asyncio.create_task(write(context, yielded, b"late")))
        yield BULK

    interceptor = AioAround("unary_stream", runs)
    async with (
        aio_server(methods("unary_stream", behavior), interceptors=[interceptor]) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        await within(yielded.wait())
        with pytest.raises(ConcurrencyError, match="concurrent-write"):
            await within(tasks[0])
        assert [message[:1] async for message in call] == [b"\0"]
    assert len(found()) == 1


async def test_a_response_that_an_interceptor_has_handed_on(found: Found) -> None:
    """gRPC writes it: a write of the handler's task is refused, as without the interceptor."""

    def runs(behavior: Any) -> Any:
        async def run(request: Any, context: Any) -> AsyncIterator[bytes]:
            async for response in behavior(request, context):
                yield response

        return run

    await write_refused_beside_yield(runs)
    assert len(found()) == 1


# Sync


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("shape", ["stream_unary", "stream_stream"])
def test_a_thread_that_an_interceptor_waits_for(shape: str, wraps: bool, found: Found) -> None:
    """The same: the interceptor has the RPC until its function, or its generator, has ended."""
    parties: list[Party[Any]] = []
    ended = Gate()

    def late(requests: Any, context: Any) -> tuple[bytes, str]:
        ended.park()
        return next(requests), context.peer()

    def function(behavior: Any) -> Any:
        def run(request: Any, context: Any) -> bytes:
            response: bytes = behavior(request, context)
            ended.open()
            parties[0].result()
            return response

        return run

    def generator(behavior: Any) -> Any:
        def run(request: Any, context: Any) -> Iterator[bytes]:
            yield from behavior(request, context)
            ended.open()
            parties[0].result()
            yield b"1"

        return run

    def plain(requests: Any, context: Any) -> bytes:
        parties.append(in_thread(late, requests, context))
        return b"0"

    def generating(requests: Any, context: Any) -> Iterator[bytes]:
        parties.append(in_thread(late, requests, context))
        yield b"0"

    is_function = shape == "stream_unary"
    interceptors = [Around(shape, function if is_function else generator)]
    if wraps:
        inner = Around(
            shape, lambda plain: lambda requests, context: plain(requests, Wrapped(context))
        )
        interceptors.append(inner)
    handler = methods(shape, plain if is_function else generating)
    with (
        sync_server(handler, interceptors=interceptors) as address,
        sync_channel(address, mode=None) as channel,
    ):
        response = getattr(channel, shape)(RPC)(iter([b"request"]))
        assert (response if is_function else list(response)) == (
            b"0" if is_function else [b"0", b"1"]
        )
        request, peer = parties[0].result()
    assert request == b"request"
    assert peer.startswith("ipv4:127.0.0.1:")
    assert found() == []


def test_a_sync_interceptor_that_has_more_responses(found: Found) -> None:
    """While gRPC sends what an interceptor adds, by an iterator of any kind, the RPC is open."""
    sending, parties = Gate(), list[Party[Any]]()

    def runs(behavior: Any) -> Any:
        return lambda request, context: itertools.chain(behavior(request, context), [b"1", b"2"])

    def park(response: bytes) -> bytes:
        return sending.park_at(b"1")(response)

    def behavior(request: Any, context: Any) -> Iterator[bytes]:
        yield b"0"
        parties.append(in_thread(look, context))

    def look(context: Any) -> Any:
        with sending.held():
            return context.peer()

    handler = grpc.unary_stream_rpc_method_handler(behavior, response_serializer=park)
    with (
        sync_server({"Stream": handler}, interceptors=[Keeping(runs)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        assert list(channel.unary_stream(RPC)(b"")) == [b"0", b"1", b"2"]
        assert parties[0].result()
    assert found() == []


class Keeping(Around):
    """Keeps the serializer of the handler."""

    def __init__(self, runs: Callable[[Any], Any]) -> None:
        super().__init__("unary_stream", runs)

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        return handler._replace(unary_stream=self._runs(handler.unary_stream))


def test_sync_use_behind_an_interceptor_that_has_ended(found: Found) -> None:
    """What a handler has let out is refused once its interceptor has ended."""
    out: list[Any] = []

    def behavior(requests: Any, context: Any) -> bytes:
        out.append(context)
        return b"0"

    interceptor = Around("stream_unary", lambda plain: lambda *call: plain(*call))
    with (
        sync_server(methods("stream_unary", behavior), interceptors=[interceptor]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        assert channel.stream_unary(RPC)(iter(())) == b"0"
        with pytest.raises(ConcurrencyError, match="handler-returned"):
            out[0].peer()
    assert len(found()) == 1


# What is looked at is not kept


class Thing:
    """What a function of the program has in hand."""


async def test_nothing_is_kept_of_an_allowed_use(found: Found) -> None:
    """A use in the task of the RPC itself leaves no cycle of frames behind."""
    gone: list[weakref.ref[Thing]] = []

    async def use_with(thing: Thing, context: Any) -> None:
        gone.append(weakref.ref(thing))
        await context.write(b"late")

    async def behavior(request: bytes, context: Any) -> None:
        _left.get().append(lambda: use_with(Thing(), context))

    interceptor = AioAround("unary_stream", finishing)
    with no_collector():
        async with (
            aio_server(methods("unary_stream", behavior), interceptors=[interceptor]) as address,
            aio_channel(address, mode=None) as channel,
        ):
            assert [message async for message in channel.unary_stream(RPC)(b"")] == [b"late"]
        assert [reference() for reference in gone] == [None]
    assert found() == []


def test_nothing_is_kept_of_a_refused_use(found: Found) -> None:
    """Nor does a use that is refused."""
    out: list[Any] = []

    def use_with(thing: Thing) -> weakref.ref[Thing]:
        try:
            out[0].peer()
        except ConcurrencyError:  # pytest.raises() would keep it
            return weakref.ref(thing)
        raise AssertionError

    def behavior(requests: Any, context: Any) -> bytes:
        out.append(context)
        return b"0"

    with (
        no_collector(),
        sync_server(methods("stream_unary", behavior)) as address,
        sync_channel(address, mode=None) as channel,
    ):
        assert channel.stream_unary(RPC)(iter(())) == b"0"
        kept = use_with(Thing())
        assert kept() is None
    assert len(found()) == 1
