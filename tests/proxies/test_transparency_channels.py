"""Guarded channels and servers live like plain ones: opening, watching, patching, closing."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import grpc
import grpc.aio
import pytest
from support.comparison import AioWorld, World, same_as_plain, what, what_async
from support.services import AioService, Service
from support.staging import PATIENCE, RELEASE, path, wait, within

import grpc_guard


class Stub:
    """What generated code makes of a service: multi-callables, registered methods."""

    def __init__(self, channel: Any) -> None:
        options = {"request_serializer": bytes, "response_deserializer": bytes}
        self.unary = channel.unary_unary(path("Unary"), **options)
        self.numbers = channel.unary_stream(path("Numbers"), _registered_method=True, **options)
        self.count = channel.stream_unary(method=path("Count"), **options)
        self.echo = channel.stream_stream(path("Echo"), bytes, bytes, _registered_method=True)


@same_as_plain
def test_a_channel_as_a_context_manager(world: World) -> Iterator[Any]:
    """A channel hands itself to a with statement, and is closed after it."""
    address = world.serve(Service().methods())
    channel = world.guard(grpc.insecure_channel(address))
    with channel as entered:
        yield entered is channel, entered == channel
        call = entered.unary_stream(path("Hold"))(b"")
        yield next(call)
    yield what(next, call).code(), call.details()
    yield what(channel.unary_stream(path("Numbers")), b"1")
    yield what(channel.stream_unary(path("Count")), iter([]))
    yield what(channel.stream_stream(path("Echo")), iter([])), channel.close()
    with world.guard(grpc.insecure_channel(address)) as channel:
        yield what(channel.__exit__, None, None, None)
    error = what(lambda: _raise_inside(world.guard(grpc.insecure_channel(address))))
    yield error
    grpc_guard.clear_findings()  # of closed-channel


def _raise_inside(channel: Any) -> None:
    with channel:
        raise KeyError("inside")


@same_as_plain
def test_a_stub(world: World) -> Iterator[Any]:
    """Multi-callables made as generated code makes them work, and are of the plain classes."""
    stub = Stub(world.channel(Service().methods()))
    yield stub.unary(b"a"), stub.unary.with_call(b"a")[0], stub.unary.future(b"a").result()
    yield list(stub.numbers(b"2")), stub.count(iter([b"a"])), list(stub.echo(iter([b"a"])))
    for multi_callable in vars(stub).values():
        yield multi_callable.__class__, multi_callable._method
    yield isinstance(stub.count, grpc.StreamUnaryMultiCallable)


# grpcio's own poller may meet the closed channel.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@same_as_plain
def test_the_connectivity_of_a_channel(world: World) -> Iterator[Any]:
    """Subscribers get the channel's states, and a channel becomes ready."""
    channel = world.channel(Service().methods())
    before = set(threading.enumerate())
    states: queue.SimpleQueue[Any] = queue.SimpleQueue()
    yield channel.subscribe(states.put, try_to_connect=True)
    seen = [states.get(timeout=PATIENCE)]
    while seen[-1] is not grpc.ChannelConnectivity.READY:
        seen.append(states.get(timeout=PATIENCE))
    yield seen[0], seen[-1], channel.unsubscribe(states.put)
    ready = grpc.channel_ready_future(channel)
    yield ready.result(timeout=PATIENCE), ready.done(), ready.cancel()
    watchers = set(threading.enumerate()) - before  # grpcio's: closing under them, they fail
    for watcher in watchers:
        watcher.join(PATIENCE)
    yield any(watcher.is_alive() for watcher in watchers)


@same_as_plain
def test_patching_a_channel(world: World) -> Iterator[Any]:
    """Mocks are put on a channel and on its class, are called, and are taken off again."""
    channel = world.channel(Service().methods())
    for name in ("close", "subscribe", "unsubscribe", "unary_unary", "unary_stream"):
        with mock.patch.object(channel, name) as patched:
            yield name, getattr(channel, name) is patched
            getattr(channel, name)("argument")
            yield patched.call_args.args
        with mock.patch.object(type(channel), name) as patched:
            yield name, getattr(channel, name)("argument") is patched.return_value
        yield name, isinstance(getattr(channel, name), mock.Mock)
    yield list(channel.unary_stream(path("Numbers"))(b"1"))
    yield type(what(lambda: mock.create_autospec(channel).close(1, 2, 3)))


@same_as_plain
def test_patching_a_call(world: World) -> Iterator[Any]:
    """Mocks are put on a call, and on a multi-callable's class."""
    start = world.channel(Service().methods()).unary_stream(path("Numbers"))
    call = start(b"1")
    for name in ("cancel", "code", "add_done_callback", "initial_metadata"):
        with mock.patch.object(call, name, return_value="mocked"):
            yield name, getattr(call, name)("argument")
    yield list(call), call.code()
    with mock.patch.object(type(start), "__call__", return_value="mocked"):
        yield start(b"1")
    yield list(start(b"1"))


@same_as_plain
def test_a_call_method_of_the_object_itself(world: World) -> Iterator[Any]:
    """Python finds what a call of an object does by its class: what is set on the object is not run."""
    channel = world.channel(Service().methods())
    starts = {
        channel.unary_unary(path("Unary")): b"1",
        channel.unary_stream(path("Numbers")): b"1",
        channel.stream_unary(path("Count")): iter([b"1"]),
        channel.stream_stream(path("Echo")): iter([b"1"]),
    }
    for start, request in starts.items():
        start.__call__ = lambda *_: "of the object"
        yield what(lambda start=start, request=request: list(start(request)))


@same_as_plain
def test_the_life_of_a_server(world: World) -> Iterator[Any]:
    """Ports, start, stop and termination of a server are as before."""
    with ThreadPoolExecutor(2) as pool:
        server = world.guard(grpc.server(pool))
        handler = grpc.method_handlers_generic_handler("test.Guard", Service().methods())
        yield server.add_generic_rpc_handlers((handler,))
        yield server.add_registered_method_handlers("test.Guard", Service().methods())
        port = server.add_insecure_port("127.0.0.1:0")
        yield port > 0, what(server.add_insecure_port, "nonsense:nonsense:1")
        yield type(what(server.add_secure_port, "127.0.0.1:0", None))
        yield server.start(), what(server.start), what(server.wait_for_termination, timeout=0.01)
        yield list(world.connect(f"127.0.0.1:{port}").unary_stream(path("Numbers"))(b"2"))
        stopped = server.stop(grace=None)
        wait(stopped)
        yield type(stopped), stopped.is_set(), server.wait_for_termination(timeout=PATIENCE)
        yield what(server.start), type(what(server.add_generic_rpc_handlers, (object(),)))
        yield type(what(server.add_generic_rpc_handlers, 42)), type(what(server.stop))


@same_as_plain
def test_patching_a_server(world: World) -> Iterator[Any]:
    """Mocks are put on a server and on its class."""
    with ThreadPoolExecutor(2) as pool:
        server = world.guard(grpc.server(pool))
        for name in ("start", "stop", "add_insecure_port", "add_generic_rpc_handlers"):
            with mock.patch.object(server, name, return_value="mocked"):
                yield name, getattr(server, name)("argument")
            with mock.patch.object(type(server), name, return_value="mocked"):
                yield name, getattr(server, name)("argument")
        yield server.stop(None).wait(PATIENCE)


class Handlers(grpc.GenericRpcHandler):
    """A generic handler of the application's own, with handlers of its own class."""

    class Handler(grpc.RpcMethodHandler):
        request_streaming = False
        response_streaming = True
        request_deserializer = response_serializer = None
        unary_unary = stream_unary = stream_stream = None

        def __init__(self, behavior: Any) -> None:
            self.unary_stream = behavior

    def __init__(self, behavior: Any) -> None:
        self.asked: list[str] = []
        self._behavior = behavior

    def service(self, handler_call_details: Any) -> Any:
        self.asked.append(handler_call_details.method)
        if handler_call_details.method == path("Numbers"):
            return self.Handler(self._behavior)
        return None


@same_as_plain
def test_handlers_of_ones_own(world: World) -> Iterator[Any]:
    """Generic handlers and method handlers may be of any class."""
    handlers = Handlers(lambda request, context: iter([b"1", b"2"]))
    channel = world.channel(lambda server: server.add_generic_rpc_handlers([handlers]))
    yield list(channel.unary_stream(path("Numbers"))(b"2"))
    yield list(channel.unary_stream(path("Numbers"))(b"2"))
    yield what(next, channel.unary_stream(path("Nothing"))(b"")), handlers.asked


@same_as_plain
async def test_an_aio_channel_as_a_context_manager(world: AioWorld) -> AsyncIterator[Any]:
    """A channel hands itself to an async with statement, and is closed after it."""
    address = await world.serve(AioService().methods())
    channel = world.guard(grpc.aio.insecure_channel(address))
    async with channel as entered:
        yield entered is channel, entered == channel
        call = entered.unary_stream(path("Hold"))(b"")
        yield await call.read()
    yield await call.details(), call.cancelled()
    for start in (channel.unary_stream, channel.stream_unary, channel.stream_stream):
        yield what(start(path("Numbers")), b"1")
    yield what(channel.unary_unary(path("Unary")), b""), await channel.close()
    grpc_guard.clear_findings()  # of closed-channel


@pytest.mark.skipif(RELEASE < (1, 85), reason="that grpcio may never end such a read")
@same_as_plain
async def test_reading_after_closing_the_aio_channel(world: AioWorld) -> AsyncIterator[Any]:
    """A call ends with its channel, at once or after a grace, and so do its reads."""
    address = await world.serve(AioService().methods())
    for grace in (None, 0.01):
        channel = world.guard(grpc.aio.insecure_channel(address))
        call = channel.unary_stream(path("Hold"))(b"")
        yield await call.read(), await channel.close(grace), await what_async(call.read())


@same_as_plain
async def test_an_aio_stub(world: AioWorld) -> AsyncIterator[Any]:
    """Multi-callables made as generated code makes them work, and are of the plain classes."""
    stub = Stub(await world.channel(AioService().methods()))
    yield await stub.unary(b"a"), await stub.count([b"a"])
    yield [message async for message in stub.numbers(b"2")]
    yield [message async for message in stub.echo([b"a"])]
    for multi_callable in vars(stub).values():
        yield multi_callable.__class__, multi_callable._method
    yield isinstance(stub.count, grpc.aio.StreamUnaryMultiCallable)


@same_as_plain
async def test_the_connectivity_of_an_aio_channel(world: AioWorld) -> AsyncIterator[Any]:
    """The states of a channel are told as before."""
    channel = await world.channel(AioService().methods())
    state = channel.get_state(try_to_connect=True)
    yield state, await within(channel.channel_ready()), channel.get_state()
    yield await within(channel.wait_for_state_change(state))
    yield isinstance(
        await what_async(
            asyncio.wait_for(channel.wait_for_state_change(grpc.ChannelConnectivity.READY), 0.01)
        ),
        asyncio.TimeoutError,
    )


@same_as_plain
async def test_patching_an_aio_channel(world: AioWorld) -> AsyncIterator[Any]:
    """Mocks are put on a channel, a call and a server, and on their classes."""
    channel = await world.channel(AioService().methods())
    server = world.guard(grpc.aio.server())
    call = channel.stream_stream(path("Echo"))()
    names = {
        channel: ("close", "get_state", "unary_stream", "stream_stream", "channel_ready"),
        call: ("cancel", "read", "write", "done_writing", "add_done_callback", "code"),
        server: ("start", "stop", "add_insecure_port", "add_generic_rpc_handlers"),
    }
    for thing, methods in names.items():
        for name in methods:
            with mock.patch.object(thing, name) as patched:
                yield name, isinstance(patched, mock.AsyncMock), getattr(thing, name) is patched
            with mock.patch.object(type(thing), name) as patched:  # see test_transparency.py
                yield name, getattr(thing, name) is patched
            yield name, isinstance(getattr(thing, name), mock.Mock)
    yield await call.write(b"a"), await call.read(), call.cancel()


@same_as_plain
async def test_the_life_of_an_aio_server(world: AioWorld) -> AsyncIterator[Any]:
    """Ports, start, stop and termination of a server are as before."""
    server = world.guard(grpc.aio.server())
    handler = grpc.method_handlers_generic_handler("test.Guard", AioService().methods())
    yield server.add_generic_rpc_handlers((handler,))
    yield server.add_registered_method_handlers("test.Guard", AioService().methods())
    port = server.add_insecure_port("127.0.0.1:0")
    yield port > 0, what(server.add_insecure_port, "nonsense:nonsense:1")
    yield await server.start(), await what_async(server.start())
    yield await server.wait_for_termination(timeout=0.01)
    channel = await world.connect(f"127.0.0.1:{port}")
    yield [message async for message in channel.unary_stream(path("Numbers"))(b"2")]
    yield await server.stop(grace=None), await server.wait_for_termination(timeout=PATIENCE)
    yield type(what(server.add_generic_rpc_handlers, 42)), type(what(server.stop))


@same_as_plain
async def test_aio_handlers_of_ones_own(world: AioWorld) -> AsyncIterator[Any]:
    """Generic handlers and method handlers may be of any class."""

    async def numbers(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"1"

    handlers = Handlers(numbers)
    channel = await world.channel(lambda server: server.add_generic_rpc_handlers([handlers]))
    yield [message async for message in channel.unary_stream(path("Numbers"))(b"2")]
    yield [message async for message in channel.unary_stream(path("Numbers"))(b"2")]
    yield await what_async(channel.unary_stream(path("Nothing"))(b"").read()), handlers.asked


@same_as_plain
async def test_a_call_method_of_the_aio_object_itself(world: AioWorld) -> AsyncIterator[Any]:
    """The same in the asyncio api."""
    channel = await world.channel(AioService().methods())
    unary, numbers = channel.unary_unary(path("Unary")), channel.unary_stream(path("Numbers"))
    count, echo = channel.stream_unary(path("Count")), channel.stream_stream(path("Echo"))
    for start in (unary, numbers, count, echo):
        start.__call__ = lambda *_: "of the object"
    yield await unary(b"1"), [message async for message in numbers(b"1")]
    yield await count([b"1"]), [message async for message in echo([b"1"])]
