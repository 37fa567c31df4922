"""The contract, handlers: a server's stream objects end with the handler they were given to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from support.staging import (
    AsyncGate,
    Gate,
    Lost,
    aio_channel,
    aio_server,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError

pytestmark = pytest.mark.usefixtures("in_each_mode")
RPC = path("Stream")


class Leak:
    """What a handler let out: its requests and its context."""

    requests: Any
    context: Any

    def keep(self, requests: Any, context: Any) -> None:
        self.requests = requests
        self.context = context


# Sync: how a handler ends, of which kind it is, and what is used afterwards


def ends_by_return(context: Any) -> None:
    pass


def ends_by_raise(context: Any) -> None:
    raise Lost


def ends_by_abort(context: Any) -> None:
    context.abort(grpc.StatusCode.ABORTED, "enough")


ENDS = [ends_by_return, ends_by_raise, ends_by_abort]


def sync_handler(shape: str, leak: Leak, end: Callable[[Any], None]) -> Any:
    def function(requests: Any, context: Any) -> bytes:
        leak.keep(requests, context)
        end(context)
        return b""

    def generator(requests: Any, context: Any) -> Any:
        leak.keep(requests, context)
        yield b""
        end(context)

    behavior = function if shape == "stream_unary" else generator
    return {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(behavior)}


def exhaust(read: Callable[[], Any]) -> None:
    """Read a call to its end, whether that is an error or not."""
    try:
        read()
    except grpc.RpcError:
        pass


@contextmanager
def sync_leak(shape: str, end: Callable[[Any], None]) -> Iterator[Leak]:
    """Yield what a handler of a sync server let out, after it has ended."""
    leak = Leak()
    with (
        sync_server(sync_handler(shape, leak, end)) as address,
        sync_channel(address) as channel,
    ):
        start = getattr(channel, shape)(RPC)
        requests = b"" if shape == "unary_stream" else iter([b"1"])
        exhaust(lambda: start(requests) if shape == "stream_unary" else list(start(requests)))
        yield leak


TOUCHES = {
    "peer": (),
    "peer_identities": (),
    "peer_identity_key": (),
    "auth_context": (),
    "send_initial_metadata": ((),),
    "abort": (grpc.StatusCode.ABORTED, ""),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("shape", ["stream_unary", "stream_stream"])
def test_sync_requests_after_the_handler(shape, end, found):
    """next(request_iterator) is refused once the handler has returned, raised or aborted."""
    with sync_leak(shape, end) as leak:
        with pytest.raises(ConcurrencyError) as refusal:
            next(leak.requests)
        with pytest.raises(ConcurrencyError):
            leak.requests.next()
    first, second = found()
    assert first == refusal.value.finding
    assert (
        first.message
        == second.message
        == (
            f"handler-returned: next by thread 'MainThread' on {RPC} (server, sync) refused: "
            "its handler has ended"
        )
    )
    assert first.owner is None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("shape", ["unary_stream", "stream_unary", "stream_stream"])
def test_sync_context_after_the_handler(shape, end, found):
    """Methods of the context that touch the call are refused after the handler."""
    touches = {**TOUCHES, "abort_with_status": (None,)}
    with sync_leak(shape, end) as leak:
        for name, arguments in touches.items():
            with pytest.raises(ConcurrencyError, match=f"handler-returned: context.{name} by"):
                getattr(leak.context, name)(*arguments)
    assert [finding.caller.operation for finding in found()] == [
        f"context.{name}" for name in touches
    ]


@pytest.mark.parametrize("shape", ["unary_stream", "stream_unary", "stream_stream"])
def test_sync_context_state_after_the_handler(shape, found):
    """The context's state may be looked at, and set, at any time."""
    with sync_leak(shape, ends_by_return) as leak:
        context = leak.context
        assert not context.is_active()
        context.cancel()
        context.set_code(grpc.StatusCode.OK)
        context.set_details("late")
        context.set_trailing_metadata(())
        context.disable_next_message_compression()
        assert context.code() is grpc.StatusCode.OK
        assert context.details() == b"late"
        assert context.trailing_metadata() == ()
        assert context.time_remaining() > 0
        assert [key for key, _ in context.invocation_metadata()] == ["user-agent"]
        context.add_callback(print)
    assert found() == []


def test_sync_sender_after_its_end(found):
    """A non-blocking handler ends with the None that it sends: nothing may follow."""
    leaked, returned = [], Gate()

    def numbers(request: Any, context: Any, send_response: Any) -> None:
        leaked.extend((send_response, context, context.peer()))
        send_response(b"1")
        send_response(None)
        returned.open()

    numbers.experimental_non_blocking = True  # type: ignore[attr-defined]
    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        assert list(channel.unary_stream(RPC)(b"")) == [b"1"]
        returned.park()
        send_response, context, _ = leaked
        with pytest.raises(ConcurrencyError, match="handler-returned: send_response by thread"):
            send_response(b"2")
        with pytest.raises(ConcurrencyError, match="handler-returned: context.peer by thread"):
            context.peer()
    assert len(found()) == 2


def test_sync_requests_of_a_cancelled_call(found):
    """A handler that runs on after its client left may ask, and is told so by grpcio."""
    left, finished, told = Gate(), Gate(), []

    def chat(requests: Any, context: Any) -> Any:
        context.add_callback(left.open)
        yield b""
        left.park()
        try:
            next(requests)
        except BaseException as error:
            told.append(type(error).__mro__)
            raise
        finally:
            finished.open()

    with (
        sync_server({"Stream": grpc.stream_stream_rpc_method_handler(chat)}) as address,
        sync_channel(address) as channel,
    ):
        never = Gate()
        call = channel.stream_stream(RPC)(iter(never.park, None))
        assert next(call) == b""
        left.wait()
        call.cancel()
        never.open()
        finished.park()
    [error] = told
    assert Exception in error
    assert ConcurrencyError not in error
    assert found() == []


def test_sync_callback_that_looks_at_the_context(found):
    """A termination callback may use the context after the handler has ended."""
    seen, called = [], Gate()

    def numbers(request: Any, context: Any) -> Any:
        def look() -> None:
            seen.append((context.peer(), context.is_active()))
            called.open()

        assert context.add_callback(look)
        yield b"1"

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        assert list(channel.unary_stream(RPC)(b"")) == [b"1"]
        called.park()
    [(peer, is_active)] = seen
    assert peer.startswith("ipv4:127.0.0.1:")
    assert not is_active
    assert found() == []


def test_sync_finally_of_a_generator(found):
    """The finally block of a generator that is closed early may use its stream objects."""
    seen, closed = [], Gate()

    def numbers(request: Any, context: Any) -> Any:
        try:
            while True:
                yield b"1"
        finally:
            seen.append(context.peer())
            closed.open()

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        call = channel.unary_stream(RPC)(b"")
        assert next(call) == b"1"
        call.cancel()
        closed.park()
    assert len(seen) == 1
    assert found() == []


@pytest.mark.parametrize("way", ["stream_unary", "stream_stream"])
def test_sync_requests_handed_to_another_call(way, found):
    """A handler may let gRPC send its requests on, and return before they have ended."""
    gate, received, over = Gate(), [], Gate()

    def backend(requests: Any, context: Any) -> Any:
        received.extend(requests)
        over.open()
        return b"" if way == "stream_unary" else iter(())

    methods = {"Stream": getattr(grpc, f"{way}_rpc_method_handler")(backend)}
    with sync_server(methods, mode=None) as backend_address, sync_channel(backend_address) as inner:

        def proxy(requests: Any, context: Any) -> bytes:
            start = getattr(inner, way)(RPC, request_serializer=gate.park_at(b"1"))
            calls.append(start.future(requests) if way == "stream_unary" else start(requests))
            gate.wait()
            return b"done"

        calls: list[Any] = []
        with (
            sync_server({"Stream": grpc.stream_unary_rpc_method_handler(proxy)}) as address,
            sync_channel(address) as channel,
        ):
            assert channel.stream_unary(RPC)(iter([b"1", b"2"])) == b"done"
            gate.open()
            over.park()
            [call] = calls
            exhaust(call.result if way == "stream_unary" else lambda: list(call))
    assert received[:1] == [b"1"]
    assert found() == []


# Aio


async def aio_ends_by_return(context: Any) -> None:
    pass


async def aio_ends_by_raise(context: Any) -> None:
    raise Lost


async def aio_ends_by_abort(context: Any) -> None:
    await context.abort(grpc.StatusCode.ABORTED, "enough")


async def aio_ends_by_cancel(context: Any) -> None:
    await asyncio.Event().wait()


AIO_ENDS = [aio_ends_by_return, aio_ends_by_raise, aio_ends_by_abort, aio_ends_by_cancel]


def aio_handler(shape: str, kind: str, leak: Leak, end: Callable[[Any], Any], done: Any) -> Any:
    async def coroutine(requests: Any, context: Any) -> bytes | None:
        leak.keep(requests, context)
        context.add_done_callback(lambda context: done.set())
        if shape != "unary_stream":
            await anext(aiter(requests))
        if shape != "stream_unary":
            await context.write(b"")
        leak.started.set()
        await end(context)
        return b"" if shape == "stream_unary" else None

    async def generator(requests: Any, context: Any) -> Any:
        leak.keep(requests, context)
        context.add_done_callback(lambda context: done.set())
        if shape != "unary_stream":
            await anext(aiter(requests))
        yield b""
        leak.started.set()
        await end(context)

    behavior = coroutine if kind == "coroutine" else generator
    return {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(behavior)}


@asynccontextmanager
async def aio_leak(shape: str, kind: str, end: Callable[[Any], Any]) -> AsyncIterator[Leak]:
    """Yield what a handler of an aio server let out, after it has ended."""
    leak, done = Leak(), asyncio.Event()
    leak.started = asyncio.Event()
    async with (
        aio_server(aio_handler(shape, kind, leak, end, done)) as address,
        aio_channel(address) as channel,
    ):
        call = getattr(channel, shape)(RPC)(b"" if shape == "unary_stream" else [b"1"])
        if shape == "stream_unary":
            reader = asyncio.ensure_future(call)
        else:
            reader = asyncio.create_task(read_to_the_end(call))
        await within(leak.started.wait())
        if end is aio_ends_by_cancel:
            call.cancel()
        await asyncio.wait([reader], timeout=20)
        assert reader.done()
        await within(done.wait())
        yield leak


async def read_to_the_end(call: Any) -> None:
    async for _ in call:
        pass


KINDS = [
    ("unary_stream", "coroutine"),
    ("unary_stream", "generator"),
    ("stream_unary", "coroutine"),
    ("stream_stream", "coroutine"),
    ("stream_stream", "generator"),
]


@pytest.mark.parametrize("end", AIO_ENDS)
@pytest.mark.parametrize(("shape", "kind"), KINDS)
async def test_aio_objects_after_the_handler(shape, kind, end, found):
    """Every method that uses the call is refused after the handler, even one that would crash."""
    async with aio_leak(shape, kind, end) as leak:
        context, requests = leak.context, leak.requests
        uses = {
            "context.read": lambda: context.read(),
            "context.write": lambda: context.write(b""),
            "context.send_initial_metadata": lambda: context.send_initial_metadata(()),
            "context.abort": lambda: context.abort(grpc.StatusCode.ABORTED, ""),
            "context.abort_with_status": lambda: context.abort_with_status(None),
        }
        if shape != "unary_stream":
            uses["__anext__"] = lambda: anext(aiter(requests))
            uses["asend"] = lambda: aiter(requests).asend(None)
        for name, use in uses.items():
            with pytest.raises(ConcurrencyError) as refusal:
                await use()
            assert str(refusal.value).partition("\n")[0] == (
                f"handler-returned: {name} by task 'test' on {RPC} (server, aio) refused: "
                "its handler has ended"
            )
        touches = ["peer", "peer_identities", "peer_identity_key", "auth_context"]
        for name in touches:
            with pytest.raises(ConcurrencyError, match=f"handler-returned: context.{name} by"):
                getattr(context, name)()
    assert [finding.caller.operation for finding in found()] == [
        *uses,
        *(f"context.{name}" for name in touches),
    ]


@pytest.mark.parametrize(("shape", "kind"), KINDS)
async def test_aio_context_state_after_the_handler(shape, kind, found):
    """The context's state may be looked at, and set, at any time."""
    async with aio_leak(shape, kind, aio_ends_by_return) as leak:
        context = leak.context
        assert context.done()
        assert not context.cancelled()
        context.set_code(grpc.StatusCode.OK)
        context.set_details("late")
        context.set_trailing_metadata(())
        context.disable_next_message_compression()
        assert context.code() is grpc.StatusCode.OK
        assert context.details() == "late"
        assert context.trailing_metadata() == ()
        assert context.time_remaining() is None
        assert [key for key, _ in context.invocation_metadata()] == ["user-agent"]
    assert found() == []


@pytest.mark.parametrize("shape", ["stream_unary", "stream_stream"])
async def test_aio_requests_of_a_sync_handler_after_it(shape, found):
    """The objects of a sync handler in the thread pool end with it, too."""
    leak = Leak()
    async with (
        aio_server(sync_handler(shape, leak, ends_by_return)) as address,
        aio_channel(address) as channel,
    ):
        call = getattr(channel, shape)(RPC)([b"1"])
        await within(call if shape == "stream_unary" else read_to_the_end(call))
        with pytest.raises(ConcurrencyError, match=r"handler-returned: next by thread .*aio\)"):
            next(leak.requests)
        for name in TOUCHES:
            with pytest.raises(ConcurrencyError, match=f"handler-returned: context.{name} by"):
                getattr(leak.context, name)(*TOUCHES[name])
        leak.context.set_code(grpc.StatusCode.OK)
        assert [key for key, _ in leak.context.invocation_metadata()] == ["user-agent"]
    assert len(found()) == 1 + len(TOUCHES)


@pytest.mark.parametrize("kind", ["coroutine", "generator"])
async def test_aio_callback_that_looks_at_the_context(kind, found):
    """A done-callback gets the guarded context, and may use it after the handler."""
    seen, called = [], asyncio.Event()

    def look(given: Any) -> None:
        seen.append((given, given.peer(), given.code()))
        called.set()

    async def coroutine(request: Any, context: Any) -> None:
        context.add_done_callback(look)
        seen.append(context)
        await context.write(b"1")

    async def generator(request: Any, context: Any) -> Any:
        context.add_done_callback(look)
        seen.append(context)
        yield b"1"

    behavior = coroutine if kind == "coroutine" else generator
    methods = {"Stream": grpc.unary_stream_rpc_method_handler(behavior)}
    async with aio_server(methods) as address, aio_channel(address) as channel:
        assert [message async for message in channel.unary_stream(RPC)(b"")] == [b"1"]
        await within(called.wait())
    context, (given, peer, _) = seen
    assert given is context
    assert peer.startswith("ipv4:127.0.0.1:")
    assert found() == []


async def test_aio_finally_of_a_generator(found):
    """The finally block of an async generator that is cancelled may use its stream objects."""
    seen, closed, waits, never = [], asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def numbers(request: Any, context: Any) -> Any:
        try:
            yield b"1"
            waits.set()
            await never.wait()
        finally:
            seen.append(context.peer())
            closed.set()

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    async with aio_server(methods) as address, aio_channel(address) as channel:
        call = channel.unary_stream(RPC)(b"")
        assert await within(call.read()) == b"1"
        await within(waits.wait())  # it is not at its yield any more
        call.cancel()
        await within(closed.wait())
    assert len(seen) == 1
    assert found() == []


async def test_aio_finally_of_a_generator_at_a_yield(found):
    """grpcio drops a generator whose client leaves at a yield: its finally block comes late."""
    seen, closed, yielded = [], asyncio.Event(), asyncio.Event()

    async def numbers(request: Any, context: Any) -> Any:
        try:
            yield b"1"
            yielded.set()
            yield bytes(4 << 20)
        finally:
            try:
                await context.send_initial_metadata(())  # peer() would crash the process
            except Exception as error:
                seen.append(error)
            closed.set()

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    narrow = [("grpc.http2.bdp_probe", 0)]
    async with aio_server(methods) as address, aio_channel(address, options=narrow) as channel:
        call = channel.unary_stream(RPC)(b"")
        assert await within(call.read()) == b"1"
        await within(yielded.wait())
        call.cancel()
        await within(closed.wait())
    [refusal] = seen
    assert isinstance(refusal, ConcurrencyError)
    assert refusal.finding.caller.operation == "context.send_initial_metadata"
    assert found() == [refusal.finding]


@pytest.mark.parametrize("way", ["stream_unary", "stream_stream"])
async def test_aio_requests_handed_to_another_call(way, found):
    """A handler may let gRPC send its requests on, and return before they have ended."""
    received, calls, started = [], [], AsyncGate()

    async def backend(requests: Any, context: Any) -> Any:
        async for request in requests:
            received.append(request)
            started.arrive()
        return b""

    methods = {"Stream": getattr(grpc, f"{way}_rpc_method_handler")(backend)}
    async with (
        aio_server(methods, mode=None) as backend_address,
        aio_channel(backend_address) as inner,
    ):

        async def proxy(requests: Any, context: Any) -> bytes:
            calls.append(getattr(inner, way)(RPC)(requests))
            await started.wait()
            return b"done"

        methods = {"Stream": grpc.stream_unary_rpc_method_handler(proxy)}
        async with aio_server(methods) as address, aio_channel(address) as channel:
            call = channel.stream_unary(RPC)()
            await call.write(b"1")
            assert await within(call) == b"done"
            [inner_call] = calls
            await asyncio.wait(
                [asyncio.ensure_future(inner_call if way == "stream_unary" else inner_call.read())],
                timeout=20,
            )
            assert inner_call.done()
    assert received == [b"1"]
    assert found() == []
