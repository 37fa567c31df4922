"""What a program holds of calls that go through client interceptors is guarded, and legal use is not refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparison import AioWorld, same_as_plain
from support.services import AioService, Service
from support.staging import (
    PATIENCE,
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    path,
    settle,
    sync_channel,
    sync_server,
    within,
)

import grpc_guard
from grpc_guard import ConcurrencyError, wrap

# Sync: interceptors that put generators around requests and responses


def passing(messages: Any) -> Iterator[Any]:
    yield from messages


class Interceptor(
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Does with each streaming RPC what a function says."""

    def __init__(self, act: Callable[[Callable[[Any], Any], Any], Any]) -> None:
        self._act = act

    def _intercept(self, continuation: Any, details: Any, requests: Any) -> Any:
        return self._act(lambda given: continuation(details, given), requests)

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = _intercept


def around(go_on: Callable[[Any], Any], requests: Any) -> Any:
    return passing(go_on(passing(requests)))


def lazily(go_on: Callable[[Any], Any], requests: Any) -> Any:
    yield from go_on(passing(requests))


def in_list(go_on: Callable[[Any], Any], requests: Any) -> Any:
    return go_on(iter(list(requests)))


def twice(go_on: Callable[[Any], Any], requests: Any) -> Any:
    first = go_on(passing(requests))
    return passing([*first, *go_on(iter([b"more"]))])


@pytest.fixture
def connect() -> Iterator[Callable[..., Any]]:
    """Return what opens an intercepted channel to a plain server, in a guarded process."""
    with (
        sync_server(Service().methods(), mode=None) as address,
        sync_channel(address, mode=None) as channel,
        grpc_guard.guarded("raise"),
    ):
        yield lambda *acts: grpc.intercept_channel(channel, *map(Interceptor, acts))


def rules() -> list[str]:
    return [finding.rule.name for finding in grpc_guard.findings()]


def line_of_start(call: Any) -> str:
    site = call._self_stream.origin.site
    return str(site.code)


def test_the_line_that_started_a_stream(connect: Any) -> None:
    """It is that of the program, and not the one in an interceptor, which all streams would share."""
    one = connect(in_list, in_list).stream_stream(path("Echo"))
    two = connect(around, in_list).stream_stream(path("Echo"))
    first = one(iter([b"0"]))
    second = two(iter([b"1"]))
    assert line_of_start(first) == 'first = one(iter([b"0"]))'
    assert line_of_start(second) == 'second = two(iter([b"1"]))'
    assert (list(first), list(second)) == ([b"0"], [b"1"])


def test_the_line_of_an_interceptor_that_starts_an_rpc_of_its_own(connect: Any) -> None:
    """That one was started by the interceptor."""
    asked = []

    def asking_first(go_on: Callable[[Any], Any], requests: Any) -> Any:
        asked.append(another(b"1"))
        return go_on(requests)

    another = connect().unary_stream(path("Numbers"))
    call = connect(asking_first).stream_stream(path("Echo"))(iter([b"0"]))
    assert line_of_start(asked[0]) == 'asked.append(another(b"1"))'
    assert "connect(asking_first)" in line_of_start(call)
    assert list(call) == [b"0"]
    asked[0].cancel()


@pytest.mark.parametrize("act", [around, lazily])
def test_next_during_next_behind_a_generator(connect: Any, act: Any) -> None:
    """Two readers of an interceptor's generator: the second is refused, once, and nothing is lost."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        yield b"0"
        gate.park()
        yield b"1"

    call = connect(act, around).stream_stream(path("Echo"))(requests())
    assert next(call) == b"0"
    reader = inside_grpc(lambda: next(call), name="owner")
    with pytest.raises(ConcurrencyError) as refusal:
        next(call)
    gate.open()
    assert reader.result() == b"1"
    assert list(call) == []
    assert refusal.value.finding.owner is not None
    assert refusal.value.finding.owner.name == "owner"
    assert refusal.value.finding.rpc == path("Echo")
    assert rules() == ["concurrent-read"]
    grpc_guard.clear_findings()


@pytest.mark.parametrize("shape", ["stream_stream", "stream_unary"])
def test_a_generator_for_two_intercepted_calls(connect: Any, shape: str) -> None:
    """A generator that feeds a live RPC is refused for another, interceptors or not."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        gate.park()
        yield b"0"

    echo = connect(around).stream_stream(path("Echo"))
    shared = requests()
    first = echo(shared, PATIENCE)
    gate.wait()
    with pytest.raises(ConcurrencyError):
        if shape == "stream_stream":
            next(echo(request_iterator=shared))
        else:
            connect(hand_on).stream_unary(path("Count"))(shared)
    gate.open()
    assert list(first) == [b"0"]
    assert rules() == ["shared-iterator"]
    grpc_guard.clear_findings()
    assert list(echo(shared)) == []  # it may be used again: the first RPC is over


def hand_on(go_on: Callable[[Any], Any], requests: Any) -> Any:
    return go_on(requests)


@pytest.mark.parametrize("act", [around, lazily, in_list, twice, hand_on])
def test_what_interceptors_may_do(connect: Any, act: Any) -> None:
    """Interceptors drain, replace, repeat and start late: nothing is refused."""
    channel = connect(act)
    sent = [b"0", b"1"]
    more = [b"more"] if act is twice else []
    assert list(channel.stream_stream(path("Echo"))(passing(sent))) == sent + more
    assert list(channel.stream_stream(path("Echo"))(iter(sent))) == sent + more
    if act is hand_on:
        assert list(channel.unary_stream(path("Numbers"))(b"2")) == sent
        count = channel.stream_unary(path("Count"))
        assert count(passing(sent)) == b"2"
        assert count.with_call(passing(sent))[0] == b"2"
        assert count.future(passing(sent)).result() == b"2"
    assert rules() == []


class Jobs:
    """A request iterator that RPCs may share; the first to come waits until the second is there."""

    def __init__(self, *messages: bytes) -> None:
        self.messages = deque(messages)
        self.gate = Gate()

    def __iter__(self) -> Jobs:
        return self

    def __next__(self) -> bytes:
        self.gate.park()
        try:
            return self.messages.popleft()
        except IndexError:
            raise StopIteration from None


def in_two(go_on: Callable[[Any], Any], requests: Any) -> Any:
    calls = go_on(requests), go_on(requests)
    requests.gate.wait(parties=2)
    requests.gate.open()
    total = sum(int(call.result()) for call in calls)
    assert total == 4
    return calls[0]


@pytest.mark.parametrize("mode", ["raise", "serialize"])
@pytest.mark.parametrize("layer", ["outside", "inside"])
def test_requests_shared_by_the_rpcs_of_an_interceptor(mode: str, layer: str) -> None:
    """An interceptor starts two RPCs with one iterator that is no generator: gRPC is in it twice."""
    guard = partial(wrap, mode=mode)
    with (
        sync_server(Service().methods(), mode=None) as address,
        sync_channel(address, mode=None) as plain,
    ):
        inner = guard(plain) if layer == "inside" else plain
        channel: Any = grpc.intercept_channel(inner, Interceptor(in_two))
        outer = guard(channel) if layer == "outside" else channel
        outer.stream_unary(path("Count")).future(Jobs(b"0", b"1", b"2", b"3")).result()
    assert rules() == []


def test_status_behind_a_generator(connect: Any) -> None:
    """status() knows the reader of an interceptor's generator."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        gate.park()
        yield b"0"

    call = connect(around).stream_stream(path("Echo"))(requests())
    reader = inside_grpc(lambda: next(call), name="owner")
    owner = grpc_guard.status(call).read
    gate.open()
    reader.result()
    list(call)
    assert owner is not None
    assert owner.name == "owner"


def test_intercepted_call_while_the_guard_is_off() -> None:
    """A function of the guard that other code took from grpcio's class is inert after disable()."""
    with (
        sync_server(Service().methods(), mode=None) as address,
        sync_channel(address, mode=None) as channel,
    ):
        echo = grpc.intercept_channel(channel, Interceptor(around)).stream_stream(path("Echo"))
        with grpc_guard.guarded("raise"):
            patched = type(echo).__call__
        call = patched(echo, iter([b"0"]))
        assert type(call) is type(passing(()))
        assert list(call) == [b"0"]


# Asyncio: grpcio queues the writes of an intercepted call


class AioInterceptor(grpc.aio.StreamStreamClientInterceptor):
    """Does nothing."""

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, requests)


class AioCounting(grpc.aio.StreamUnaryClientInterceptor):
    """Does nothing."""

    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await continuation(details, requests)


@same_as_plain
async def test_overlapping_writes_of_an_intercepted_call(world: AioWorld) -> AsyncIterator[Any]:
    """They wait in grpcio's own queue, and each message arrives."""
    address = await world.serve(AioService().methods())
    channel = await world.connect(address, interceptors=[AioInterceptor(), AioCounting()])
    for start in (channel.stream_stream(path("Echo")), channel.stream_unary(path("Count"))):
        call = start()
        writes = [asyncio.create_task(call.write(b"%d" % number)) for number in range(15)]
        yield await within(asyncio.gather(*writes, return_exceptions=True))
        yield await call.done_writing()
        if hasattr(call, "read"):
            yield sorted([message async for message in call])
        else:
            yield await call


async def test_write_during_done_writing_of_an_intercepted_call() -> None:
    """What is written once the end is on its way comes behind it and is lost: refused."""
    begin = asyncio.Event()

    class Late(AioInterceptor):
        async def intercept_stream_stream(self, continuation: Any, details: Any, it: Any) -> Any:
            await begin.wait()
            return await continuation(details, it)

    async with (
        aio_server(AioService().methods(), mode=None) as address,
        aio_channel(address, mode=None, interceptors=[Late()]) as plain,
    ):
        call = wrap(plain, mode="raise").stream_stream(path("Echo"))()
        end = asyncio.create_task(call.done_writing(), name="closer")
        await settle()
        with pytest.raises(ConcurrencyError) as refusal:
            await call.write(b"late")
        begin.set()
        await within(end)
        assert [message async for message in call] == []
    assert refusal.value.finding.rule.name == "concurrent-write"
    assert refusal.value.finding.owner is not None
    assert refusal.value.finding.owner.name == "closer"
    grpc_guard.clear_findings()


class AioJobs:
    """As Jobs, for asyncio."""

    def __init__(self, *messages: bytes) -> None:
        self.messages = deque(messages)
        self.gates = [AsyncGate(), AsyncGate()]
        self._free = iter(self.gates)

    def __aiter__(self) -> AioJobs:
        return self

    async def __anext__(self) -> bytes:
        for gate in self._free:
            await gate.park()
            break
        if not self.messages:
            raise StopAsyncIteration
        return self.messages.popleft()


class AioInTwo(grpc.aio.StreamUnaryClientInterceptor):
    """Starts two RPCs with the requests of one."""

    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        calls = [await continuation(details, requests) for _ in range(2)]
        for gate in requests.gates:
            await gate.wait()
        for gate in requests.gates:
            gate.open()
        assert sum([int(await call) for call in calls]) == 4
        return calls[0]


@pytest.mark.parametrize("mode", ["raise", "serialize"])
async def test_requests_shared_by_the_rpcs_of_an_aio_interceptor(mode: str) -> None:
    """The same: neither waits for the other, nor is it refused."""
    async with (
        aio_server(AioService().methods(), mode=None) as address,
        aio_channel(address, mode=mode, interceptors=[AioInTwo()]) as channel,
    ):
        await within(channel.stream_unary(path("Count"))(AioJobs(b"0", b"1", b"2", b"3")))
    assert rules() == []


async def test_write_on_another_loop_of_an_intercepted_call() -> None:
    """A call with interceptors belongs to one loop as any other does."""
    async with (
        aio_server(AioService().methods(), mode=None) as address,
        aio_channel(address, mode=None, interceptors=[AioInterceptor()]) as plain,
    ):
        call = wrap(plain.stream_stream(path("Echo"))(), mode="raise")
        elsewhere = in_thread(lambda: asyncio.run(call.write(b"0")), name="elsewhere")
        with pytest.raises(ConcurrencyError, match="wrong-loop"):
            await within(elsewhere.as_future())
        await call.write(b"0")
        await call.done_writing()
        assert [message async for message in call] == [b"0"]
    grpc_guard.clear_findings()
