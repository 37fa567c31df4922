"""wrap(): what can be wrapped, and one guard for one stream."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc._cython import cygrpc
from support.enabling import is_guarded
from support.staging import (
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    inside_grpc,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
    within,
)

import grpc_guard
from grpc_guard import ConcurrencyError, Mode, wrap

KINDS = (
    "wrap() takes a channel, a server, a call or a servicer context of grpc or grpc.aio, not {}: {}"
)
CHOICES = "wrap(mode): {!r} is not a mode; use off, raise, warn or serialize"


def numbers(request: bytes, context: Any) -> Iterator[bytes]:
    yield from (b"0", b"1", b"2")


async def numbers_async(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for number in (b"0", b"1", b"2"):
        yield number


async def echo_async(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


SYNC = {"Numbers": grpc.unary_stream_rpc_method_handler(numbers)}
AIO = {
    "Numbers": grpc.unary_stream_rpc_method_handler(numbers_async),
    "Echo": grpc.stream_stream_rpc_method_handler(echo_async),
}


@pytest.fixture
def channel() -> Iterator[Any]:
    """A plain channel to a plain server."""
    with sync_server(SYNC, mode=None) as address, sync_channel(address, mode=None) as plain:
        yield plain


# What can be wrapped, and how


@pytest.mark.parametrize("thing", [42, "text", None, object, [], grpc, grpc.StatusCode.OK])
def test_wrapping_something_else(thing: Any) -> None:
    """Anything else is a TypeError that names what can be wrapped."""
    with pytest.raises(TypeError) as raised:
        wrap(thing)
    assert str(raised.value) == KINDS.format(type(thing).__name__, repr(thing))


def test_wrapping_something_long() -> None:
    """The TypeError shows only the beginning of the object."""
    with pytest.raises(TypeError) as raised:
        wrap("x" * 10_000)
    assert str(raised.value) == KINDS.format("str", "'" + "x" * 199)


@pytest.mark.parametrize("mode", ["on", "ON", "", 1, True, ["raise"]])
def test_wrapping_in_an_unknown_mode(channel: Any, mode: Any) -> None:
    """An unknown mode is a ValueError that names the choices, whatever is wrapped."""
    for thing in (channel, 42):
        with pytest.raises(ValueError, match=r"^wrap\(mode\): ") as raised:
            wrap(thing, mode=mode)
        assert str(raised.value) == CHOICES.format(mode)


@pytest.mark.parametrize("mode", list(Mode))
def test_wrapping_in_a_mode_by_name_and_by_member(channel: Any, mode: Mode) -> None:
    """A mode may be given as text or as a member of Mode."""
    for given in (mode, mode.value):
        assert (wrap(channel, mode=given) is channel) is (mode is Mode.OFF)


def sync_objects() -> Iterator[Any]:
    """A plain object of each kind of grpc."""
    contexts: list[Any] = []
    done = threading.Event()

    def keep(request: bytes, context: Any) -> Iterator[bytes]:
        contexts.append(context)
        yield b"0"
        wait(done)

    methods = {"Keep": grpc.unary_stream_rpc_method_handler(keep)}
    with (
        sync_server(methods, mode=None) as address,
        sync_channel(address, mode=None) as channel,
        ThreadPoolExecutor() as pool,
    ):
        call = channel.unary_stream(path("Keep"))(b"")
        next(call)
        server = grpc.server(pool)
        try:
            yield from (channel, server, call, contexts[0])
        finally:
            server.stop(None)
            done.set()


async def aio_objects() -> AsyncIterator[Any]:
    """A plain object of each kind of grpc.aio."""
    contexts: list[Any] = []
    gate, thread = AsyncGate(), Gate()

    async def keep(request: bytes, context: Any) -> None:
        contexts.append(context)
        await gate.park()

    def keep_in_pool(request: bytes, context: Any) -> Iterator[bytes]:
        contexts.append(context)
        thread.park()
        yield from ()

    methods = {
        "Keep": grpc.unary_stream_rpc_method_handler(keep),
        "KeepInPool": grpc.unary_stream_rpc_method_handler(keep_in_pool),
        **AIO,
    }
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        calls = [
            channel.unary_stream(path("Keep"))(b""),
            channel.unary_stream(path("KeepInPool"))(b""),
            channel.stream_stream(path("Echo"))(),
            channel.stream_unary(path("Echo"))(),
        ]
        await gate.wait()
        await asyncio.get_running_loop().run_in_executor(None, thread.wait)
        for thing in (channel, grpc.aio.server(), *calls, *contexts):
            yield thing
        gate.open()
        thread.open()
        for call in calls[:2]:
            await within(call.code())
        for call in calls[2:]:
            call.cancel()


def check_wrapping(thing: Any) -> None:
    for mode in ("raise", "warn", "serialize"):
        guarded = wrap(thing, mode=mode)
        assert guarded is not thing
        assert guarded == thing
        assert wrap(guarded) is guarded
        assert wrap(guarded, mode="warn") is guarded
        assert wrap(guarded, mode="off") is guarded
        del guarded
    assert wrap(thing) is not thing
    assert wrap(thing, mode="off") is thing


def test_wrapping_twice() -> None:
    """Every kind of object of grpc is wrapped; a guarded one and mode off change nothing."""
    kinds = []
    for thing in sync_objects():
        check_wrapping(thing)
        kinds.append(type(thing).__name__)
    assert kinds == ["Channel", "_Server", "_MultiThreadedRendezvous", "_Context"]


async def test_wrapping_twice_in_aio() -> None:
    """Every kind of object of grpc.aio is wrapped; a guarded one and mode off change nothing."""
    kinds = []
    async for thing in aio_objects():
        check_wrapping(thing)
        kinds.append(type(thing).__name__)
    assert kinds[:2] == ["Channel", "Server"]
    assert kinds[2:6] == [
        "UnaryStreamCall",
        "UnaryStreamCall",
        "StreamStreamCall",
        "StreamUnaryCall",
    ]
    assert sorted(kinds[6:]) == ["_ServicerContext", "_SyncServicerContext"]


# One guard for one stream


def test_wrapping_one_call_in_two_places() -> None:
    """A call or context that is wrapped twice by hand has one guard."""
    for thing in list(sync_objects())[2:]:
        assert wrap(thing) is wrap(thing)


async def test_wrapping_one_aio_call_in_two_places() -> None:
    """A call or context that is wrapped twice by hand has one guard."""
    async for thing in aio_objects():
        if not isinstance(thing, (grpc.aio.Channel, grpc.aio.Server)):
            first = wrap(thing)
            assert wrap(thing) is first


async def test_wrapping_a_channel_whose_calls_are_guarded() -> None:
    """A channel of the application's own may hand on guarded calls: they have one guard."""
    async with aio_server(AIO, mode=None) as address, aio_channel(address) as inner:

        class Channel(grpc.aio.Channel):
            __aenter__ = __aexit__ = close = get_state = wait_for_state_change = None
            channel_ready = unary_unary = stream_unary = stream_stream = None

            def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
                return inner.unary_stream(*args, **kwargs)

        call = wrap(Channel(), mode="warn").unary_stream(path("Numbers"))(b"")
        assert (is_guarded(call), is_guarded(call.__wrapped__)) == (True, False)
        assert [message async for message in call] == [b"0", b"1", b"2"]


def test_next_during_next_through_two_wraps(
    found: Callable[[], list[grpc_guard.Finding]],
) -> None:
    """next() of a call that is wrapped a second time is refused during next() of the first."""
    gate = Gate()

    def wait_and_count(request: bytes, context: Any) -> Iterator[bytes]:
        gate.park()
        yield from (b"0", b"1")

    methods = {"Wait": grpc.unary_stream_rpc_method_handler(wait_and_count)}
    with (
        sync_server(methods, mode=None) as address,
        sync_channel(address, mode=None) as plain,
    ):
        call = plain.unary_stream(path("Wait"))(b"")
        reader = inside_grpc(lambda: next(wrap(call)), name="reader")
        with gate.held(), pytest.raises(ConcurrencyError):
            next(wrap(call))
        assert reader.result() == b"0"
        assert list(wrap(call)) == [b"1"]
    assert [finding.rule for finding in found()] == ["concurrent-read"]


async def test_read_during_read_through_two_wraps(
    found: Callable[[], list[grpc_guard.Finding]],
) -> None:
    """context.read() by one guarded twin is refused while a task is in that of another."""
    gate = AsyncGate()
    outcomes: list[Any] = []

    async def handler(requests: Any, context: Any) -> bytes:
        reader = asyncio.create_task(wrap(context).read(), name="reader")
        await settle()
        try:
            outcomes.append(await wrap(context).read())
        except ConcurrencyError as error:
            outcomes.append(error.finding.rule)
        gate.open()
        return await reader

    methods = {"Read": grpc.stream_unary_rpc_method_handler(handler)}
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.stream_unary(path("Read"))()
        await within(gate.park())
        await call.write(b"a")
        assert await within(call) == b"a"
    assert outcomes == ["concurrent-read"]
    assert [finding.rule for finding in found()] == ["concurrent-read"]


async def test_async_for_during_async_for_through_two_wraps(
    found: Callable[[], list[grpc_guard.Finding]],
) -> None:
    """Async for over a call that is wrapped a second time is refused during that of the first."""
    async with (
        aio_server(AIO, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        call = channel.stream_stream(path("Echo"))()

        async def read_all() -> list[bytes]:
            return [message async for message in wrap(call)]

        reader = asyncio.create_task(read_all(), name="reader")
        await settle()
        with pytest.raises(ConcurrencyError):
            await read_all()
        await call.write(b"a")
        await call.done_writing()
        assert await within(reader) == [b"a"]
    assert [finding.rule for finding in found()] == ["concurrent-read"]


async def test_keeping_nothing_of_a_context_that_was_wrapped() -> None:
    """A context that a handler wrapped is gone with its RPC, on the loop and in the pool."""

    async def on_the_loop(request: bytes, context: Any) -> AsyncIterator[bytes]:
        wrap(context).set_details("")
        yield b""

    def in_the_pool(request: bytes, context: Any) -> Iterator[bytes]:
        wrap(context).set_details("")
        yield b""

    methods = {
        "Loop": grpc.unary_stream_rpc_method_handler(on_the_loop),
        "Pool": grpc.unary_stream_rpc_method_handler(in_the_pool),
    }
    before = contexts_alive()
    async with (
        aio_server(methods, mode=None) as address,
        aio_channel(address, mode=None) as channel,
    ):
        for method in methods:
            call = channel.unary_stream(path(method))(b"")
            assert [message async for message in call] == [b""]
    while contexts_alive() > before:  # until gRPC has let them go
        await settle()


def contexts_alive() -> int:
    """Count the live contexts of grpc.aio."""
    gc.collect()
    kinds = (cygrpc._ServicerContext, cygrpc._SyncServicerContext)
    return sum(type(thing) in kinds for thing in gc.get_objects())


def test_wrapping_a_call_leaves_it_to_its_owner(channel: Any) -> None:
    """The guard keeps no call alive: a wrapped one ends with its last reference too."""
    call = channel.unary_stream(path("Numbers"))(b"")
    guarded = wrap(call)
    state = call._state
    next(guarded)
    del call
    assert state.code is None
    del guarded
    assert state.code is grpc.StatusCode.CANCELLED
