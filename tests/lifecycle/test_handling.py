"""Handlers in flight: which ones snapshot() has, and when they starve the server."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from types import FunctionType, SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import (
    Mode,
    Stream,
    aio_handlers,
    catalogue_thresholds,
    cpython_door,
    lifecycle_handlers,
    sync_handlers,
)
from support.staging import (
    PATIENCE,
    AsyncGate,
    Gate,
    aio_channel,
    in_thread,
    logged_by_us,
    path,
    sync_channel,
    wait,
    within,
)

from grpc_guard import Finding, Owner, guarded, wrap

Found = Callable[[], list[Finding]]


class Service:
    """A streaming method whose handler parks, and a unary one."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.held = 0

    def wait_for_one_more(self) -> None:
        """Wait until one more handler is parked: it stands still then."""
        self.held += 1
        self.gate.wait(self.held)

    def hold(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"begun"
        self.gate.park()

    def methods(self) -> dict[str, Any]:
        return {
            "Hold": grpc.unary_stream_rpc_method_handler(self.hold),
            "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
        }

    def generic(self) -> Any:
        return grpc.method_handlers_generic_handler("test.Guard", self.methods())


class Running:
    """A sync server that runs, and a channel to it."""

    def __init__(self, service: Service, workers: int, guard: Callable[[Any], Any]) -> None:
        self.service = service
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self.server = guard(grpc.server(self.pool))
        self.server.add_generic_rpc_handlers((service.generic(),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Running:
        self.server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.service.gate.open()
        wait(self.server.stop(None))
        self.pool.shutdown()

    def hold(self, channel: Any) -> Any:
        """Start a stream and return its call when the handler is parked."""
        call = channel.unary_stream(path("Hold"))(b"")
        assert next(call) == b"begun"
        self.service.wait_for_one_more()
        return call


def wrapped(server: Any) -> Any:
    return wrap(server)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        catalogue_thresholds,
        "_current",
        catalogue_thresholds.Thresholds(starved_server_seconds=0.0),
    )


def names(owners: tuple[Owner, ...]) -> list[tuple[str, str, str]]:
    return [(owner.kind, owner.name, owner.operation) for owner in owners]


# snapshot()


def test_handlers_in_flight() -> None:
    """Each streaming handler is there while it runs: RPC, thread, age, and the line it is at."""
    service = Service()
    with Running(service, 2, wrapped) as running, sync_channel(running.address) as channel:
        assert running.server.snapshot() == ()
        calls = [running.hold(channel)]
        assert channel.unary_unary(path("Unary"))(b"1", timeout=PATIENCE) == b"1"
        (owner,) = running.server.snapshot()
        handlers = lifecycle_handlers.handlers_of(running.server.__wrapped__)
        assert list(handlers._threads(frozenset())) == []  # of none of these threads
        assert (owner.kind, owner.operation) == ("thread", path("Hold"))
        assert owner.name.startswith("worker_")
        assert owner.held_seconds is not None
        assert [frame.function for frame in owner.stack] == ["hold", "park", "_wait"]
        calls.append(running.hold(channel))
        first, second = running.server.snapshot()
        assert first.name == owner.name
        assert first.held_seconds > second.held_seconds
        service.gate.open()
        for call in calls:
            assert list(call) == []


def test_handlers_of_a_server_that_was_there_before() -> None:
    """Under the guard of the process, a server is looked at by wrapping it."""
    service = Service()
    with guarded(), Running(service, 2, lambda server: server) as running:
        with grpc.insecure_channel(running.address) as channel:
            running.hold(channel)
            assert len(wrap(running.server).snapshot()) == 1
        other = wrap(grpc.server(ThreadPoolExecutor(1)))
        assert other.snapshot() == ()


async def test_tasks_in_flight() -> None:
    """A handler of grpc.aio is a task, and its line is where it waits."""
    gate = AsyncGate()

    async def hold(requests: Any, context: Any) -> None:
        await gate.park()

    server = wrap(grpc.aio.server())
    methods = {"Hold": grpc.stream_stream_rpc_method_handler(hold)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Guard", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(path("Hold"))()
        await gate.wait()
        (owner,) = server.snapshot()
        assert (owner.kind, owner.operation) == ("task", path("Hold"))
        assert [frame.function for frame in owner.stack][:2] == ["hold", "park"]
        gate.open()
        await within(call.code())
        assert server.snapshot() == ()
    await server.stop(None)


async def test_entering_without_a_task() -> None:
    """What runs on a loop outside of any task is not noted."""
    handlers = lifecycle_handlers.Handlers(None)
    loop = asyncio.get_running_loop()
    stream = Stream("/a/b", "server", "aio", Mode.RAISE, loop)
    called = asyncio.Event()

    async def handle() -> None:
        entry = handlers.enter_task(stream, loop)
        assert [owner.kind for owner in handlers.snapshot()] == ["task"]
        stream.ended = True
        assert handlers.snapshot() == ()
        stream.ended = False
        del entry
        assert handlers.snapshot() == ()

    def enter() -> None:
        assert handlers.enter_task(stream, loop) is None
        called.set()

    asyncio.get_running_loop().call_soon(enter)
    await within(called.wait())
    assert handlers.snapshot() == ()
    await asyncio.create_task(handle())


async def test_a_generator_of_the_wrong_signature() -> None:
    """It fails where it is called, and is not in flight although its exception, with its frames, is kept."""
    handlers = lifecycle_handlers.Handlers(None)

    async def echo(request: bytes) -> AsyncIterator[bytes]:
        yield request

    guarded = aio_handlers.guard_behavior(
        echo, "/a/b", lambda: Mode.RAISE, False, True, handlers=handlers
    )
    with pytest.raises(TypeError, match="takes 1 positional argument") as failed:
        guarded(b"", SimpleNamespace())
    assert failed.value.__traceback__ is not None
    assert handlers.snapshot() == ()


def test_a_stream_that_is_gone() -> None:
    """A record whose stream is gone, or whose thread is not in gRPC, is not listed."""
    handlers = lifecycle_handlers.Handlers(None)
    streams = [Stream("/a/b", "server", "sync", Mode.RAISE)]
    gate = Gate()

    def enter() -> None:
        handlers.enter(streams[0])
        gate.park()

    party = in_thread(enter)
    with gate.held():
        assert handlers.snapshot() == ()
        streams[0].ended = True
        assert handlers.snapshot() == ()
        streams.clear()
        assert handlers.snapshot() == ()
    party.result()
    assert handlers.snapshot() == ()


def test_the_records_of_a_server() -> None:
    """They are found by the state of the server, among those of others."""
    servers = [grpc.server(None) for _ in range(2)]
    records = [lifecycle_handlers.handlers_of(server) for server in servers]
    found = [lifecycle_handlers.records_of_state(server._state) for server in servers]
    assert found == records
    assert lifecycle_handlers.records_of_state(object()) is None


def test_a_server_that_cannot_be_held_weakly() -> None:
    """A server of the application's own kind has records of its own, which stay empty."""

    class Own:
        __slots__ = ()

    assert lifecycle_handlers.handlers_of(Own()).snapshot() == ()


# Sync handlers of a server of grpc.aio


async def elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Return what `function` returns in a thread that is of no pool."""
    return await within(in_thread(function, *args).as_future())


class RunningAio:
    """A server of grpc.aio with sync handlers that runs, and a channel to it."""

    def __init__(self, methods: Any, pool: Any, guard: Callable[[Any], Any] = wrapped) -> None:
        self.gate = methods.gate
        self.server = guard(grpc.aio.server(pool))
        self.server.add_generic_rpc_handlers((methods.generic(),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> RunningAio:
        await self.server.start()
        # The client reads no further ahead than it must.
        self.channel = grpc.aio.insecure_channel(self.address, [("grpc.http2.bdp_probe", 0)])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.gate.open()
        await self.channel.close()
        await self.server.stop(None)

    async def hold(self, service: Service) -> Any:
        """Start a stream and return its call when the handler is parked."""
        call = self.channel.unary_stream(path("Hold"))(b"")
        assert await within(call.read()) == b"begun"
        await elsewhere(service.wait_for_one_more)
        return call


@pytest.fixture
def pools() -> Iterator[Callable[..., ThreadPoolExecutor]]:
    """Yield a factory of pools, which are shut down at the end, when nothing runs in them."""
    made: list[ThreadPoolExecutor] = []

    def make(workers: int) -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(workers, thread_name_prefix="worker"))
        return made[-1]

    yield make
    for pool in made:
        pool.shutdown()


Pools = Callable[..., ThreadPoolExecutor]


class Gathering(Service):
    """A method that has one response, and whose handler parks as well."""

    def gather(self, requests: Iterator[bytes], context: Any) -> bytes:
        return self.gate.park(next(requests))

    def methods(self) -> dict[str, Any]:
        gather = grpc.stream_unary_rpc_method_handler(self.gather)
        return {**super().methods(), "Gather": gather}


async def test_sync_handlers_in_flight(pools: Pools) -> None:
    """A sync handler is in a thread of the pool, from its first line on to its last."""
    service = Gathering()
    async with RunningAio(service, pools(2)) as running:
        streaming = await running.hold(service)
        (owner,) = running.server.snapshot()
        assert (owner.kind, owner.name, owner.operation) == ("thread", "worker_0", path("Hold"))
        assert [frame.function for frame in owner.stack][:2] == ["hold", "park"]
        gathering = running.channel.stream_unary(path("Gather"))()
        await gathering.write(b"1")
        await elsewhere(service.wait_for_one_more)
        assert names(running.server.snapshot()) == [
            ("thread", "worker_0", path("Hold")),
            ("thread", "worker_1", path("Gather")),
        ]
        service.gate.open()
        assert await within(streaming.read()) is grpc.aio.EOF
        assert await within(gathering) == b"1"
        assert running.server.snapshot() == ()


async def test_a_sync_handler_that_is_called_on_the_loop() -> None:
    """An interceptor may do that: the thread of the loop is in flight for no RPC."""
    seen: list[Any] = []

    def same(request: bytes, context: Any) -> bytes:
        seen.append(server.snapshot())
        return request

    class Calling(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = await continuation(details)

            async def call(request: bytes, context: Any) -> bytes:
                response: bytes = handler.unary_unary(request, context)
                return response

            return grpc.unary_unary_rpc_method_handler(call)

    server = wrap(grpc.aio.server(interceptors=[Calling()]))
    methods = {"Same": grpc.unary_unary_rpc_method_handler(same)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Guard", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio_channel(f"127.0.0.1:{port}") as channel:
        assert await within(channel.unary_unary(path("Same"))(b"1")) == b"1"
    await within(server.stop(None))
    assert seen == [()]


async def test_a_sync_handler_whose_client_does_not_read(pools: Pools) -> None:
    """A handler that waits until its client takes a message is in flight, at no line."""
    big, sending = b"x" * 3_000_000, threading.Event()

    def profile(frame: Any, event: str, arg: object) -> None:
        if frame.f_code.co_name == "run_coroutine_threadsafe":
            sys.setprofile(None)
            sending.set()

    class Flooding(Service):
        def hold(self, request: bytes, context: Any) -> Iterator[bytes]:
            yield big  # in flight
            yield big  # in gRPC's queue
            sys.setprofile(profile)
            yield big

    service = Flooding()
    async with RunningAio(service, pools(1)) as running:
        call = running.channel.unary_stream(path("Hold"))(b"")
        await elsewhere(wait, sending)
        (owner,) = running.server.snapshot()
        assert (owner.name, owner.operation, owner.stack) == ("worker_0", path("Hold"), ())
        assert [message async for message in call] == [big] * 3
        assert running.server.snapshot() == ()


def test_a_sync_handler_that_is_no_more(pools: Pools) -> None:
    """A thread whose handler was given up, or that has nothing to do, is in no handler."""

    def somewhere() -> Iterator[None]:
        yield

    def _worker() -> Iterator[None]:
        yield

    of_a_pool = FunctionType(_worker.__code__, {"__name__": "concurrent.futures.thread"})
    at_work, idle = somewhere(), of_a_pool()
    handlers = lifecycle_handlers.AioHandlers(pools(1), None)
    stream = Stream("/a/b", "server", "aio", Mode.RAISE)
    responses = sync_handlers.responses_of(iter([b"1"]), stream)
    assert handlers._is_inside(stream, at_work.gi_frame)  # type: ignore[attr-defined]
    assert not handlers._is_inside(stream, idle.gi_frame)
    del responses
    assert not handlers._is_inside(stream, at_work.gi_frame)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("kind", ["given", "default"])
@pytest.mark.parametrize("way", ["wrap", "enable"])
async def test_a_full_aio_server(
    kind: str, way: str, found: Found, reported: Any, pools: Pools
) -> None:
    """A pool is reported if streams have all its threads while sync handlers wait."""
    service, pool = Service(), pools(2)
    if kind == "default":
        asyncio.get_running_loop().set_default_executor(pool)
    with guarded() if way == "enable" else contextlib.nullcontext():
        guard = wrapped if way == "wrap" else lambda server: server
        async with RunningAio(service, None if kind == "default" else pool, guard) as running:
            calls = [await running.hold(service) for _ in range(2)]
            waiting = running.channel.unary_unary(path("Unary"))(b"1")
            finding = await elsewhere(lambda: reported.get(timeout=PATIENCE))
            assert (finding.rule, finding.rpc) == ("starved-server", path("Hold"))
            assert (finding.side, finding.api) == ("server", "aio")
            assert finding.caller.name == "worker_0"
            assert finding.caller.stack[0].function == "hold"
            assert ": 1 waiting while handlers hold all 2 threads: " in finding.message
            service.gate.open()
            assert await within(waiting) == b"1"
            for call in calls:
                assert await within(call.read()) is grpc.aio.EOF
    found()


@pytest.mark.usefixtures("limits")
async def test_an_executor_of_the_applications_own(found: Found, pools: Pools) -> None:
    """An executor that does not say what waits for it is not watched, and its handlers run."""

    class Own(Executor):
        def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            return pool.submit(function, *args, **kwargs)

    service, pool = Service(), pools(1)
    asyncio.get_running_loop().set_default_executor(pools(1))
    async with RunningAio(service, Own()) as running:
        call = await running.hold(service)
        assert len(running.server.snapshot()) == 1
        assert lifecycle_handlers.handlers_of(running.server.__wrapped__)._watcher is None
        service.gate.open()
        assert await within(call.read()) is grpc.aio.EOF
    assert found() == []


def test_an_executor_that_a_loop_hides(pools: Pools) -> None:
    """The default executor is found among what a loop holds, if it has no name there (uvloop)."""

    class Loop:
        __slots__ = ("__weakref__", "hidden")

    loop, pool = Loop(), pools(3)
    handlers = lifecycle_handlers.AioHandlers(None, loop)  # type: ignore[arg-type]
    handlers._find_pool()
    assert handlers._pool is None
    loop.hidden = pool  # type: ignore[attr-defined]
    handlers._find_pool()
    assert handlers._pool is not None
    assert (handlers._pool(), handlers._size) == (pool, 3)


# starved-server


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("workers", [1, 7])
def test_a_full_server(workers: int, found: Found, reported: Any) -> None:
    """A server is reported if streams have all its threads while another RPC waits."""
    service = Service()
    with Running(service, workers, wrapped) as running, sync_channel(running.address) as channel:
        calls = [running.hold(channel) for _ in range(workers)]
        waiting = channel.unary_unary(path("Unary")).future(b"1")
        finding = reported.get(timeout=PATIENCE)
        assert (finding.rule, finding.rpc) == ("starved-server", path("Hold"))
        assert (finding.side, finding.api) == ("server", "sync")
        assert finding.caller.name.startswith("worker_")
        assert finding.caller.stack[0].function == "hold"
        threads = "the only thread" if workers == 1 else f"all {workers} threads"
        assert f": 1 waiting while handlers hold {threads}: " in finding.message
        assert finding.message.endswith("; and 2 more") is (workers == 7)
        assert f"{path('Hold')} in thread 'worker_" in finding.message
        assert finding.remedy.startswith("give the server more threads ")
        service.gate.open()
        assert [list(call) for call in calls] == [[]] * workers
        assert waiting.result(timeout=PATIENCE) == b"1"
    found()


@pytest.mark.usefixtures("limits")
def test_a_server_full_of_handlers_whose_clients_have_gone(found: Found, reported: Any) -> None:
    """Handlers of RPCs that are over are told apart, and the remedy is theirs."""
    service = Service()
    over = Gate()

    def hold(request: bytes, context: Any) -> Iterator[bytes]:
        context.add_callback(over.open)
        yield from service.hold(request, context)

    service.methods = lambda: {  # type: ignore[method-assign]
        "Hold": grpc.unary_stream_rpc_method_handler(hold),
        "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
    }
    with Running(service, 1, wrapped) as running, sync_channel(running.address) as channel:
        running.hold(channel).cancel()
        over.park()
        waiting = channel.unary_unary(path("Unary")).future(b"1")
        finding = reported.get(timeout=PATIENCE)
        assert "hold the only thread, 1 of them for RPCs that are over: " in finding.message
        assert finding.message.endswith(" (its RPC is over)")
        assert finding.remedy.startswith("let a handler end with its RPC: ")
        service.gate.open()
        assert waiting.result(timeout=PATIENCE) == b"1"
    found()


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], bool]]:
    """Let a server be looked at when the yielded function is called, and not by itself.

    It tells whether the server is to be looked at again.
    """
    monkeypatch.setattr(lifecycle_handlers, "_SHORTEST", 1000.0)
    watchers: list[Any] = []

    def look(handlers: Any) -> bool:
        watchers.append(handlers._watcher)
        handlers._look()
        watchers.append(handlers._watcher)
        return handlers._watcher is not None

    yield look
    for watcher in watchers:
        if watcher is not None:
            watcher.cancel()


@pytest.mark.parametrize("unary", [False, True])
@pytest.mark.parametrize(
    ("workers", "handlers"), [(None, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
)
def test_when_a_server_is_looked_at(
    workers: int | None,
    handlers: int,
    unary: bool,
    pools: Pools,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When handlers have run in as many threads as its pool has; never if it has none that is known."""
    monkeypatch.setattr(lifecycle_handlers, "_SHORTEST", 1000.0)
    in_flight = lifecycle_handlers.Handlers(None if workers is None else pools(workers))
    stream, gate = Stream("/a/b", "server", "sync", Mode.RAISE), Gate()

    def handle() -> None:
        if unary:
            in_flight.enter_unary("/a/b")
        else:
            in_flight.enter(stream)
        gate.park()

    parties, watchers = [], [in_flight._watcher]
    for number in range(1, handlers + 1):
        in_flight._watcher = None
        parties.append(in_thread(handle))
        gate.wait(number)
        watchers.append(in_flight._watcher)
    gate.open()
    for party in parties:
        party.result()
    for watcher in filter(None, watchers):
        watcher.cancel()  # type: ignore[attr-defined]
    is_looked_at = watchers[-1] is not None
    assert is_looked_at is (workers is not None and handlers >= workers)


@pytest.mark.usefixtures("limits")
def test_a_full_server_that_nobody_waits_for(
    by_hand: Callable[[Any], bool], found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full server without waiting RPCs is not reported, nor is one with a free thread."""
    service = Service()
    with Running(service, 2, wrapped) as running, sync_channel(running.address) as channel:
        handlers = lifecycle_handlers.handlers_of(running.server.__wrapped__)
        running.hold(channel)
        assert not by_hand(handlers)
        running.hold(channel)
        assert by_hand(handlers)
        # The pool notes a thread after it has started it: it may be in a handler by then.
        monkeypatch.setattr(lifecycle_handlers, "idents_of_workers", lambda pool: frozenset())
        assert by_hand(handlers)
        assert found() == []
        service.gate.open()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers are not looked at by themselves."""
    monkeypatch.setattr(
        catalogue_thresholds,
        "_current",
        catalogue_thresholds.Thresholds(starved_server_seconds=1000.0),
    )


@pytest.mark.usefixtures("patient")
def test_not_yet_starved(found: Found) -> None:
    """Streams that have the threads for only a moment are not reported."""
    service = Service()
    with Running(service, 1, wrapped) as running, sync_channel(running.address) as channel:
        running.hold(channel)
        handlers = lifecycle_handlers.handlers_of(running.server.__wrapped__)
        waiting = channel.unary_unary(path("Unary")).future(b"1")
        other = channel.unary_stream(path("Hold"))(b"")
        handlers._look()
        assert found() == []
        watcher = handlers._watcher
        handlers._watch()
        assert handlers._watcher is watcher  # one is enough
        watcher.cancel()
        service.gate.open()
        assert waiting.result(timeout=PATIENCE) == b"1"
        other.cancel()


@pytest.mark.usefixtures("patient")
def test_the_watch_ends_with_its_reason(found: Found) -> None:
    """When a thread is free again, nothing is left that looks: a program may compare its threads."""
    service = Service()
    with Running(service, 1, wrapped) as running, sync_channel(running.address) as channel:
        running.hold(channel)
        handlers = lifecycle_handlers.handlers_of(running.server.__wrapped__)
        watcher = handlers._watcher
        assert watcher is not None
        service.gate.open()
        watcher.join(PATIENCE)
        assert not watcher.is_alive()
        assert handlers._watcher is None
    assert found() == []


def test_a_server_with_idle_threads() -> None:
    """A server whose pool has an idle thread is not watched."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int).result() == 0
        handlers = lifecycle_handlers.Handlers(pool)
        while not cpython_door.has_idle_workers(pool):
            pool.submit(int).result()
        handlers._watch()
        assert handlers._watcher is None


def test_a_pool_that_is_gone() -> None:
    """A server without a pool is not looked at."""
    handlers = lifecycle_handlers.Handlers(None)
    handlers._look()
    handlers._watch()
    assert handlers._watcher is not None
    handlers._watcher.cancel()


def test_failing_to_watch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in watching is in the log, and the handler runs."""
    handlers = lifecycle_handlers.Handlers(None)
    monkeypatch.setattr(lifecycle_handlers, "thresholds", None)
    handlers._watch()
    monkeypatch.setattr(handlers, "_pool", 3)
    handlers._look()
    assert logged_by_us(caplog) == ["a server is not watched", "a starved server goes unnoticed"]
