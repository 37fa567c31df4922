"""The contract, loops: an aio object belongs to one event loop, on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import current_mode, state_of, waiting
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    path,
    settle,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError, guarded, wrap

NUMBERS = [b"1", b"2", b"3"]
RPC = path("Stream")


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # grpcio asks for it where no loop runs
    try:
        yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()


# Off the loop: each runs a coroutine function where its call does not belong, and tells how it
# is named there. The loop of the call is at rest meanwhile.


def on_another_loop(function: Callable[[], Any]) -> Any:
    async def stray() -> Any:
        return await asyncio.create_task(function(), name="stray")

    with event_loop() as other:
        return other.run_until_complete(stray())


def on_another_thread(function: Callable[[], Any]) -> Any:
    return in_thread(on_another_loop, function, name="stray").result()


def on_no_loop(function: Callable[[], Any]) -> Any:
    def step() -> Any:
        coroutine = function()
        try:
            coroutine.send(None)
        finally:
            coroutine.close()

    return in_thread(step, name="stray").result()


STRAYS = [on_another_loop, on_another_thread, on_no_loop]


@asynccontextmanager
async def calling(address: str, shape: str, requests: Any) -> AsyncIterator[Any]:
    async with aio_channel(address) as channel:
        yield getattr(channel, shape)(RPC)(*requests)


def handler(shape: str) -> Any:
    def respond(request: Any, context: Any) -> Any:
        if shape.startswith("stream"):
            received = list(request)
            return b"".join(received) if shape == "stream_unary" else iter(received)
        return b"" if shape == "unary_unary" else iter(NUMBERS)

    return {"Stream": getattr(grpc, f"{shape}_rpc_method_handler")(respond)}


async def read(call: Any) -> Any:
    return await call.read()


async def step(call: Any) -> Any:
    return await anext(aiter(call))


async def asend(call: Any) -> Any:
    return await aiter(call).asend(None)


async def write(call: Any) -> Any:
    return await call.write(b"0")


async def done_writing(call: Any) -> Any:
    return await call.done_writing()


async def response(call: Any) -> Any:
    return await call


async def read_all(call: Any) -> Any:
    return [message async for message in call]


async def write_all(call: Any) -> Any:
    for number in NUMBERS:
        await call.write(number)
    await call.done_writing()
    return [message async for message in call]


async def write_and_await(call: Any) -> Any:
    for number in NUMBERS:
        await call.write(number)
    await call.done_writing()
    return [bytes([byte]) for byte in await call]


async def await_all(call: Any) -> Any:
    return [bytes([byte]) for byte in await call]


# operation, as the report names it; how to do it; on which call; how to finish that call
USES = [
    pytest.param("read", read, "unary_stream", (b"",), None, id="read"),
    pytest.param("__anext__", step, "unary_stream", (b"",), read_all, id="__anext__"),
    pytest.param("asend", asend, "unary_stream", (b"",), read_all, id="asend"),
    pytest.param("write", write, "stream_stream", (), write_all, id="write"),
    pytest.param("done_writing", done_writing, "stream_stream", (), write_all, id="done_writing"),
    pytest.param("write", write, "stream_unary", (), write_and_await, id="stream_unary write"),
    pytest.param("await", response, "stream_unary", (), write_and_await, id="await"),
    pytest.param("await", response, "stream_unary", (NUMBERS,), await_all, id="await of iterator"),
]


async def read_to_eof(call: Any) -> Any:
    return [await call.read() for _ in NUMBERS]


@pytest.mark.parametrize("where", STRAYS)
@pytest.mark.parametrize(("operation", "use", "shape", "requests", "finish"), USES)
def test_call_on_a_foreign_loop(where, operation, use, shape, requests, finish, found):
    """A call used from another loop, or thread, refuses; on its own loop it goes on."""
    with sync_server(handler(shape), mode=None) as address, event_loop() as loop_thread:
        context = calling(address, shape, requests)
        call = loop_thread.run_until_complete(context.__aenter__())
        with pytest.raises(ConcurrencyError) as refusal:
            where(lambda: use(call))
        assert loop_thread.run_until_complete(within((finish or read_to_eof)(call))) == NUMBERS
        loop_thread.run_until_complete(context.__aexit__(None, None, None))
    [finding] = found()
    assert finding == refusal.value.finding
    kind = "thread" if where is on_no_loop else "task"
    place = "no event loop" if where is on_no_loop else "another event loop"
    said, _, home = finding.message.partition(", whose channel was made ")
    assert said == (
        f"wrong-loop: {operation} by {kind} 'stray' on {RPC} (client, aio) refused: "
        f"it runs on {place} than the one that owns the call"
    )
    check_home(finding, home)


def check_home(finding: Any, home: str) -> None:
    """The finding says where and on which thread the channel was made, and what its loop does."""
    assert finding.owner.operation == "wrap"
    assert f" at {finding.owner.site.file}:{finding.owner.site.line} on thread " in home
    assert home.endswith((", whose loop runs", ", whose loop does not run now"))


@pytest.mark.parametrize(
    ("running", "closed", "state"),
    [(True, False, "runs"), (False, True, "is closed"), (False, False, "does not run now")],
)
def test_what_a_loop_does(running, closed, state):
    """What a loop does now is said in words."""
    loop = SimpleNamespace(is_running=lambda: running, is_closed=lambda: closed)
    assert state_of(loop) == state


SHAPES = {
    "unary_unary": (b"",),
    "unary_stream": (b"",),
    "stream_unary": (NUMBERS,),
    "stream_stream": (NUMBERS,),
}


async def complete(channel: Any, shape: str) -> Any:
    """Run an RPC of this shape to its end."""
    call = getattr(channel, shape)(RPC)(*SHAPES[shape])
    return await within(response(call) if shape.endswith("unary") else read_all(call))


@pytest.mark.parametrize("where", [on_another_loop, on_another_thread])
@pytest.mark.parametrize("shape", SHAPES)
def test_start_on_a_foreign_loop(where, shape, found):
    """An RPC started on another loop than its channel's is refused before it exists."""
    with sync_server(handler(shape), mode=None) as address, event_loop() as loop_thread:
        context = aio_channel(address)
        channel = loop_thread.run_until_complete(context.__aenter__())
        with pytest.raises(ConcurrencyError) as refusal:
            where(lambda: complete(channel, shape))
        assert loop_thread.run_until_complete(complete(channel, shape)) is not None
        loop_thread.run_until_complete(context.__aexit__(None, None, None))
    [finding] = found()
    assert finding == refusal.value.finding
    said, _, home = finding.message.partition("; it was made ")
    assert said == (
        f"wrong-loop: start by task 'stray' on {RPC} (client, aio) refused: "
        "the channel belongs to a loop, and another event loop uses it"
    )
    check_home(finding, home)


@pytest.mark.parametrize("shape", SHAPES)
async def test_start_on_a_thread_without_loop(shape, found):
    """An RPC started by a plain thread is refused while the channel's loop runs."""
    with sync_server(handler(shape), mode=None) as address:
        async with aio_channel(address) as channel:
            start = getattr(channel, shape)(RPC)
            stray = in_thread(start, *SHAPES[shape], name="stray").as_future()
            with pytest.raises(ConcurrencyError) as refusal:
                await within(stray)
            assert await complete(channel, shape) is not None
    [finding] = found()
    assert finding == refusal.value.finding
    said, _, home = finding.message.partition("; it was made ")
    assert said == (
        f"wrong-loop: start by thread 'stray' on {RPC} (client, aio) refused: "
        "the channel belongs to a loop, and another thread uses it"
    )
    check_home(finding, home)


@pytest.mark.parametrize("shape", SHAPES)
def test_start_before_the_loop_runs(shape, found):
    """A call made while its loop is at rest begins when the loop does: legal."""
    with sync_server(handler(shape), mode=None) as address, event_loop() as loop_thread:
        context = aio_channel(address)
        channel = loop_thread.run_until_complete(context.__aenter__())
        call = getattr(channel, shape)(RPC)(*SHAPES[shape])
        finish = response if shape.endswith("unary") else read_all
        assert loop_thread.run_until_complete(within(finish(call))) is not None
        loop_thread.run_until_complete(context.__aexit__(None, None, None))
    assert found() == []


async def test_tasks_of_one_loop(found):
    """Any number of tasks of the channel's loop may start RPCs on it at once: legal."""
    with sync_server(handler("stream_stream"), mode=None) as address:
        async with aio_channel(address) as channel:
            received = await asyncio.gather(
                *(complete(channel, "stream_stream") for _ in range(20))
            )
    assert received == [NUMBERS] * 20
    assert found() == []


class LoopOfItsOwn(asyncio.SelectorEventLoop):
    """A loop that runs by functions that replace those of asyncio, as those of trio-asyncio do."""

    def _run_once(self) -> None:
        asyncio._set_running_loop(None)  # the function in C is not informed
        self._thread_id = None
        super()._run_once()  # type: ignore[misc]


@pytest.mark.parametrize("shape", SHAPES)
def test_loop_that_replaces_the_functions_of_asyncio(shape, found, monkeypatch):
    """A loop that asyncio's functions know only after they were replaced is at home: legal."""
    loop = LoopOfItsOwn()
    names = itertools.product((asyncio, asyncio.events), ("_get_running_loop", "get_running_loop"))

    def current_task(of: Any = None) -> Any:
        return asyncio.tasks._current_tasks.get(of or loop)  # type: ignore[attr-defined]

    async def main(address: str) -> Any:
        with monkeypatch.context() as replaced:
            for module, name in names:
                replaced.setattr(module, name, lambda: loop)
            for module in (
                asyncio,
                asyncio.tasks,
            ):  # which asks the function in C, from Python 3.12 on
                replaced.setattr(module, "current_task", current_task)
            await settle()
            async with aio_channel(address) as channel:
                return await complete(channel, shape)

    with sync_server(handler(shape), mode=None) as address:
        received = loop.run_until_complete(main(address))
    loop.close()
    assert received in (NUMBERS, b"", b"123")
    assert found() == []


async def context_read(requests: Any, context: Any) -> Any:
    return await context.read()


async def context_write(requests: Any, context: Any) -> Any:
    return await context.write(b"0")


async def next_request(requests: Any, context: Any) -> Any:
    return await anext(aiter(requests))


async def asend_request(requests: Any, context: Any) -> Any:
    return await aiter(requests).asend(None)


@pytest.mark.parametrize(
    ("operation", "use"),
    [
        ("context.read", context_read),
        ("context.write", context_write),
        ("__anext__", next_request),
        ("asend", asend_request),
    ],
)
async def test_handler_objects_on_a_foreign_loop(operation, use, found):
    """A handler's stream used by a loop in another thread refuses; the handler goes on."""

    async def chat(requests: Any, context: Any) -> None:
        with pytest.raises(ConcurrencyError, match=f"wrong-loop: {operation} by task 'stray'"):
            await asyncio.to_thread(on_another_loop, lambda: use(requests, context))
        async for message in requests:
            await context.write(message)

    methods = {"Stream": grpc.stream_stream_rpc_method_handler(chat)}
    async with aio_server(methods) as address, aio_channel(address) as channel:
        assert await complete(channel, "stream_stream") == NUMBERS
    [finding] = found()
    assert (finding.rule, finding.side, finding.api) == ("wrong-loop", "server", "aio")


# What waits, and is no operation on a stream


async def send_metadata(context: Any) -> None:
    await context.send_initial_metadata((("key", "value"),))


async def abort(context: Any) -> None:
    await context.abort(grpc.StatusCode.ABORTED, "told")


@pytest.mark.parametrize(
    ("operation", "use"), [("send_initial_metadata", send_metadata), ("abort", abort)]
)
async def test_context_on_a_foreign_loop(operation, use, found):
    """A method of the context that sends something is refused on another loop."""

    async def chat(requests: Any, context: Any) -> None:
        with pytest.raises(ConcurrencyError, match=f"wrong-loop: context.{operation} by task"):
            await asyncio.to_thread(on_another_loop, lambda: use(context))
        async for message in requests:
            await context.write(message)

    methods = {"Stream": grpc.stream_stream_rpc_method_handler(chat)}
    async with aio_server(methods) as address, aio_channel(address) as channel:
        assert await complete(channel, "stream_stream") == NUMBERS
    [finding] = found()
    assert (finding.rule, finding.side, finding.api) == ("wrong-loop", "server", "aio")


async def test_context_handed_to_its_loop(found):
    """A thread may call a method of the context and hand what it returns to the context's loop."""

    async def chat(requests: Any, context: Any) -> None:
        loop = asyncio.get_running_loop()

        def tell() -> None:
            sending = context.send_initial_metadata((("key", "value"),))
            asyncio.run_coroutine_threadsafe(sending, loop).result(PATIENCE)

        await asyncio.to_thread(tell)
        async for message in requests:
            await context.write(message)

    methods = {"Stream": grpc.stream_stream_rpc_method_handler(chat)}
    async with aio_server(methods) as address, aio_channel(address) as channel:
        assert await complete(channel, "stream_stream") == NUMBERS
    assert found() == []


def guarded_by_wrap(obj: Any) -> Any:
    return wrap(obj)


def guarded_by_enable(obj: Any) -> Any:
    return obj


@contextmanager
def way(guard: Any) -> Iterator[None]:
    with contextlib.nullcontext() if guard is guarded_by_wrap else guarded():
        yield


WAYS = pytest.mark.parametrize("guard", [guarded_by_wrap, guarded_by_enable])


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str], None]:
    """Return a function by which a method of grpcio does nothing but wait on the loop of the test.

    Done in earnest on another loop it breaks what else the object has to do.
    """
    loops = []

    async def wait(self: Any, *args: Any) -> None:
        await loops[0].create_future()

    def replace(owner: type, name: str) -> None:
        loops.append(asyncio.get_running_loop())
        monkeypatch.setattr(owner, name, wait)

    return replace


@WAYS
async def test_waiting_for_a_channel_on_a_foreign_loop(guard, waits, found):
    """A wait for the state of a channel fails on another loop, and the report says whose it is."""
    waits(grpc.aio._channel.Channel, "wait_for_state_change")
    with way(guard):
        async with grpc.aio.insecure_channel("127.0.0.1:1") as plain:
            channel = guard(plain)
            with pytest.raises(ConcurrencyError, match="wrong-loop: .* by task 'stray'") as refusal:
                await asyncio.to_thread(on_another_loop, channel.channel_ready)
            assert isinstance(refusal.value.__context__, RuntimeError)
    [finding] = found()
    assert (finding.rule, finding.side, finding.api) == ("wrong-loop", "client", "aio")
    assert "the channel belongs to a loop, and another event loop uses it; it was made " in str(
        refusal.value
    )


@WAYS
async def test_a_channel_that_is_ready_on_a_foreign_loop(guard, found):
    """Where nothing has to be waited for grpcio does not fail, and nothing is found."""
    with way(guard), sync_server(handler("stream_stream"), mode=None) as address:
        async with grpc.aio.insecure_channel(address) as plain:
            channel = guard(plain)
            await within(channel.channel_ready())
            await asyncio.to_thread(on_another_loop, channel.channel_ready)
    assert found() == []


@WAYS
@pytest.mark.parametrize("operation", ["start", "stop", "wait_for_termination"])
async def test_server_on_a_foreign_loop(guard, operation, waits, found):
    """A server that is started, stopped or waited for on another loop says whose it is."""
    waits(grpc.aio._server.Server, operation)
    with way(guard):
        server = guard(grpc.aio.server())
        with pytest.raises(ConcurrencyError, match=f"wrong-loop: {operation} by task 'stray'"):
            await asyncio.to_thread(on_another_loop, getattr(server, operation))
    [finding] = found()
    assert (finding.rule, finding.side, finding.api) == ("wrong-loop", "server", "aio")
    assert "the server belongs to a loop, which runs, and another event loop uses it" in (
        finding.message
    )


async def test_status_on_a_foreign_loop(found):
    """code() of an RPC that runs fails on another loop; once it is over it may be asked there."""
    with sync_server(handler("stream_stream"), mode=None) as address:
        async with aio_channel(address) as channel:
            call = channel.stream_stream(RPC)()
            await within(call.write(b"1"))
            with pytest.raises(ConcurrencyError, match="wrong-loop: code by task 'stray'"):
                await asyncio.to_thread(on_another_loop, call.code)
            assert len(found()) == 1
            await within(call.done_writing())
            assert await within(read_all(call)) is not None
            code = await asyncio.to_thread(on_another_loop, call.code)
    assert code is grpc.StatusCode.OK
    assert found() == []


async def failing(self: Any) -> None:
    raise ValueError("its own")


@pytest.mark.parametrize("is_on", [True, False])
async def test_an_error_of_something_else(is_on, found):
    """What grpcio raises on the loop of its object, or of one without a loop, is the program's."""
    method = waiting("stop", current_mode, failing)
    with guarded() if is_on else contextlib.nullcontext():
        for obj in (grpc.aio.server(), object()):
            with pytest.raises(ValueError, match="its own"):
                await method(obj)
    assert found() == []


async def test_an_error_of_something_else_by_hand(monkeypatch, found):
    """The same of what was guarded by hand."""
    monkeypatch.setattr(grpc.aio._server.Server, "wait_for_termination", failing)
    with pytest.raises(ValueError, match="its own"):
        await wrap(grpc.aio.server()).wait_for_termination()
    assert found() == []


async def test_refused_await_frees_nothing(found):
    """Awaiting a call on a foreign loop does not cancel it, nor disturb who awaits it."""
    gate = Gate()

    def record(requests: Any, context: Any) -> bytes:
        received = b"".join(requests)
        return gate.park(received)

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods, mode=None) as address:
        async with aio_channel(address) as channel:
            call = channel.stream_unary(RPC)(NUMBERS)
            owner = asyncio.create_task(response(call), name="owner")
            await settle()
            with pytest.raises(ConcurrencyError):
                await asyncio.to_thread(on_another_loop, lambda: response(call))
            gate.open()
            assert await within(owner) == b"123"
    assert len(found()) == 1
