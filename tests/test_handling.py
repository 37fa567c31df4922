"""The handlers of a server in flight: who is in snapshot(), and when they starve the server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
import pytest
from support import (
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

from grpc_guard import Finding, Owner, _handling, _thresholds, guarded, wrap
from grpc_guard._guard import Stream
from grpc_guard._modes import Mode

Found = Callable[[], list[Finding]]


class Service:
    """A streaming method whose handler parks, and a unary one."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.calls = threading.Semaphore(0)

    def hold(self, request: bytes, context: Any) -> Iterator[bytes]:
        yield b"begun"
        self.calls.release()
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
        assert self.service.calls.acquire(timeout=PATIENCE)
        return call


def wrapped(server: Any) -> Any:
    return wrap(server)


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_thresholds, "_current", _thresholds.Thresholds(starved_server_seconds=0.0))


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
        handlers = _handling.handlers_of(running.server.__wrapped__)
        assert list(handlers._threads(frozenset())) == []  # of none of these threads
        assert (owner.kind, owner.operation) == ("thread", path("Hold"))
        assert owner.name.startswith("worker_")
        assert owner.held_seconds is not None
        assert [frame.function for frame in owner.stack] == ["hold", "park", "wait", "wait"][:3]
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
    handlers = _handling.Handlers(None)
    stream = Stream("/a/b", "server", "aio", Mode.RAISE)
    called = asyncio.Event()

    async def handle() -> None:
        handlers.enter_task(stream)
        assert [owner.kind for owner in handlers.snapshot()] == ["task"]
        stream.ended = True
        assert handlers.snapshot() == ()

    def enter() -> None:
        handlers.enter_task(stream)
        called.set()

    asyncio.get_running_loop().call_soon(enter)
    await within(called.wait())
    assert handlers.snapshot() == ()
    await asyncio.create_task(handle())


def test_a_stream_that_is_gone() -> None:
    """A record whose stream is no more, or whose thread is not in gRPC, is nobody."""
    handlers = _handling.Handlers(None)
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


def test_a_server_that_cannot_be_held_weakly() -> None:
    """A server of the application's own kind has records of its own, which stay empty."""

    class Own:
        __slots__ = ()

    assert _handling.handlers_of(Own()).snapshot() == ()


# starved-server


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize("workers", [1, 7])
def test_a_full_server(workers: int, found: Found, reported: Any) -> None:
    """A server whose threads are all held by streams while another RPC waits is told of."""
    service = Service()
    with Running(service, workers, wrapped) as running, sync_channel(running.address) as channel:
        for _ in range(workers):
            running.hold(channel)
        waiting = channel.unary_unary(path("Unary")).future(b"1")
        finding = reported.get(timeout=PATIENCE)
        assert (finding.rule, finding.rpc) == ("starved-server", path("Hold"))
        assert (finding.side, finding.api) == ("server", "sync")
        assert finding.caller.name.startswith("worker_")
        assert finding.caller.stack[0].function == "hold"
        assert f": 1 waiting while streams hold all {workers} threads: " in finding.message
        assert finding.message.endswith("; and 2 more") is (workers == 7)
        assert f"{path('Hold')} in thread 'worker_" in finding.message
        service.gate.open()
        assert waiting.result(timeout=PATIENCE) == b"1"
    found()


@pytest.mark.usefixtures("limits")
def test_a_full_server_that_nobody_waits_for(found: Found) -> None:
    """A server that is full, and one with a thread to spare, starve nobody."""
    service = Service()
    with Running(service, 2, wrapped) as running, sync_channel(running.address) as channel:
        handlers = _handling.handlers_of(running.server.__wrapped__)
        running.hold(channel)
        handlers._look()
        assert handlers._watcher is None
        running.hold(channel)
        handlers._look()
        assert handlers._watcher is not None  # it will look again
        assert found() == []
        service.gate.open()


def test_not_yet_starved(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that hold the threads for a moment only starve nobody."""
    monkeypatch.setattr(
        _thresholds, "_current", _thresholds.Thresholds(starved_server_seconds=1000.0)
    )
    service = Service()
    with Running(service, 1, wrapped) as running, sync_channel(running.address) as channel:
        running.hold(channel)
        handlers = _handling.handlers_of(running.server.__wrapped__)
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


def test_a_server_with_idle_threads() -> None:
    """A server whose pool has an idle thread is not watched."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(int).result() == 0
        handlers = _handling.Handlers(pool)
        while not handlers._has_idle_threads():
            pool.submit(int).result()
        handlers._watch()
        assert handlers._watcher is None


def test_a_pool_that_is_gone() -> None:
    """A server without a pool is not looked at."""
    handlers = _handling.Handlers(None)
    handlers._look()
    assert not handlers._has_idle_threads()


def test_failing_to_watch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in watching is in the log, and the handler runs."""
    handlers = _handling.Handlers(None)
    monkeypatch.setattr(_handling, "thresholds", None)
    handlers._watch()
    monkeypatch.setattr(handlers, "_pool", 3)
    handlers._look()
    assert logged_by_us(caplog) == ["a server is not watched", "a starved server goes unnoticed"]
