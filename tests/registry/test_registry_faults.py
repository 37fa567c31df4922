"""The registry under adverse conditions: forks, finalisers, crowds, threads that cannot start."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from support.registries import Stub, at_rest, closing_of, connections, serving, settled
from support.sharing import until
from support.staging import (
    PATIENCE,
    aio_server,
    in_thread,
    logged_by_us,
    path,
    settle,
    sync_server,
    wait,
)

import grpc_guard
from grpc_guard import ChannelRegistry, aio

Found = Callable[[], list[grpc_guard.Finding]]
Reported = queue.Queue[grpc_guard.Finding]

PROGRAMS = Path(__file__).parents[1] / "programs"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forking_with_a_live_lease() -> None:
    """The child starts empty and works, the parent is unharmed; the old lease says what is wrong."""
    with serving() as (address, _):
        ran = subprocess.run(
            [sys.executable, str(PROGRAMS / "forking.py"), address],
            env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "1"},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
    assert ran.stdout.splitlines() == [
        "parent before: a",
        "child sees: 0",
        (
            "child, old lease: thread 'MainThread' in the parent of this process: a forked child "
            "must take its own lease"
        ),
        "child, new lease: c",
        "child, cleanups: 1",
        "child ended: 0",
        "parent after: d 1",
    ]
    # Python 3.12 on warns of any fork beside threads.
    assert "use-after-fork: start by thread 'MainThread' on /test.Guard/Unary" in ran.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forking_with_a_live_aio_lease() -> None:
    """The child starts empty, and closes its registry without the loop that stayed behind."""
    with serving() as (address, _):
        ran = subprocess.run(
            [sys.executable, str(PROGRAMS / "forking_aio.py"), address],
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
    assert ran.stdout.splitlines() == [
        "parent before: a",
        "child sees: 0",
        (
            "child, old lease: task 'Task-1' in the parent of this process: a forked child "
            "must take its own lease"
        ),
        "child, closed: True",
        "child ended: 0",
        "parent after: d 1",
    ]
    assert "use-after-fork: start by task " in ran.stderr


def test_an_rpc_of_the_parent_that_ends_after_a_fork() -> None:
    """Neither its channel nor one that the child has made since is closed for it."""
    with serving() as (address, _), ChannelRegistry(max_streams=1) as registry:
        lease = registry.get(address)
        calls = [Stub(lease).hold(b"") for _ in range(2)]
        inherited = connections(registry)
        closed = [closing_of(connection) for connection in inherited]
        pool = registry._cleanup.pool
        pool.after_fork()  # as in a child
        with registry.get(address) as other:
            for call in calls:
                call.cancel()
            settled(lease)
            assert pool.clean_up() == ([], [], None)
            assert [event.is_set() for event in closed] == [False, False]
            assert [record.leases for record in registry.snapshot()] == [1]
            assert other.unary_unary(path("Unary"))(b"a") == b"a"
        for connection in inherited:
            connection.channel.close()


def test_a_lease_of_the_parent_that_was_dropped_before_a_fork(reported: Reported) -> None:
    """When its stream ends, the child's own channel of the same kind stays known."""
    with serving() as (address, _), ChannelRegistry() as registry:
        lease = registry.get(address)
        record, call = lease._record, Stub(lease).hold(b"")
        del lease
        assert reported.get(timeout=PATIENCE).rule == "unclosed-channel"
        (inherited,) = connections(registry)
        pool = registry._cleanup.pool
        pool.after_fork()  # as in a child
        with registry.get(address) as other:
            call.cancel()
            settled(SimpleNamespace(_record=record))
            assert pool.clean_up() == ([], [], None)
            assert [record.leases for record in registry.snapshot()] == [1]
            assert other.unary_unary(path("Unary"))(b"a") == b"a"
        inherited.channel.close()
    grpc_guard.clear_findings()


def test_dropping_a_lease_inside_the_registry(found: Found) -> None:
    """The collector may run while the same thread holds the registry's lock: nothing hangs."""
    with ChannelRegistry() as registry, serving() as (address, _):
        lease = registry.get(address)
        closed = closing_of(connections(registry)[0])
        with registry._cleanup.pool.mutex:
            del lease
        wait(closed)
        at_rest(registry)
    assert [finding.rule for finding in found()] == ["unclosed-channel"]


def test_dropping_a_lease_in_a_callback_of_grpcio(found: Found) -> None:
    """In the thread that serves its own channel, which must not wait for itself."""
    with ChannelRegistry() as registry, serving() as (address, _):
        kept = [registry.get(address)]
        closed = closing_of(connections(registry)[0])
        future = Stub(kept[0]).unary.future(b"a")
        cycle: list[Any] = [kept.pop()]
        cycle.append(cycle)
        dropped = threading.Event()

        def drop(_: object) -> None:
            gc.collect()
            dropped.set()

        del cycle
        future.add_done_callback(drop)
        wait(dropped)
        assert future.result(PATIENCE) == b"a"
        wait(closed)
    assert [finding.rule for finding in found()] == ["unclosed-channel"]


def test_closing_the_last_lease_in_a_callback_of_grpcio() -> None:
    """The channel is closed elsewhere: grpcio hangs if that thread closes it during a stream."""
    with ChannelRegistry() as registry, serving() as (address, service):
        lease = registry.get(address)
        call = Stub(lease).hold(b"")
        assert next(call) == b"0"
        closed = closing_of(connections(registry)[0])
        called = threading.Event()

        def close(_: object) -> None:
            lease.close()
            called.set()

        Stub(lease).unary.future(b"a").add_done_callback(close)
        wait(called)
        wait(service.cancelled)
        wait(closed)
        with pytest.raises(grpc.RpcError):
            next(call)


class ClosesWhenCollected:
    """Closes its lease in a finaliser, as many clients do."""

    def __init__(self, lease: Any) -> None:
        self.lease = lease

    def __del__(self) -> None:
        self.lease.close()


def test_closing_a_lease_in_a_finaliser_inside_the_registry() -> None:
    """It is an end like any other, even while the same thread holds the registry's lock."""
    with ChannelRegistry() as registry, serving() as (address, _):
        with registry.get(address) as other:
            client = ClosesWhenCollected(registry.get(address))
            with registry._cleanup.pool.mutex:
                del client
            assert [record.leases for record in registry.snapshot()] == [1]
            assert other.unary_unary(path("Unary"))(b"a") == b"a"


@pytest.mark.parametrize("lock", ["mutex", "_making"])
def test_closing_the_last_lease_in_a_finaliser_inside_the_registry(lock: str) -> None:
    """The channel is closed elsewhere: closing waits for callbacks, which may want the lock."""
    with ChannelRegistry() as registry, serving() as (address, _):
        client = ClosesWhenCollected(registry.get(address))
        closed = closing_of(connections(registry)[0])
        with getattr(registry._cleanup.pool, lock):
            del client
            assert registry.snapshot()
        wait(closed)
        at_rest(registry)


class Interrupted(set[Any]):
    """A set of leases that does something else before it takes one in, as if the collector ran."""

    meanwhile: Any = None

    def add(self, lease: Any) -> None:
        self.meanwhile()
        super().add(lease)


def interrupt_entering(registry: Any, meanwhile: Any) -> None:
    """Do `meanwhile` when the next lease of the only channel is taken, inside the lock."""
    (entry,) = registry._cleanup.pool._entries.values()
    entry.leases = Interrupted(entry.leases)
    entry.leases.meanwhile = meanwhile


@pytest.mark.parametrize("idle_seconds", [None, 1000])
def test_closing_the_last_lease_in_a_finaliser_while_another_is_taken(
    idle_seconds: float | None,
) -> None:
    """The code that takes it gets a channel that the registry knows."""
    with ChannelRegistry(idle_seconds=idle_seconds) as registry, serving() as (address, _):
        clients = [ClosesWhenCollected(registry.get(address))]

        interrupt_entering(registry, clients.clear)
        with registry.get(address) as lease:
            assert lease.unary_unary(path("Unary"))(b"a") == b"a"
            assert [record.leases for record in registry.snapshot()] == [1]
            assert not registry._cleanup.pool._idle


def test_getting_a_channel_in_a_finaliser_while_it_is_made() -> None:
    """Both get the same: the one that is ready first."""
    with ChannelRegistry() as registry, serving() as (address, _):
        kept: list[Any] = []
        make = registry._cleanup.pool._make

        def making(wanted: Any) -> Any:
            if not kept:
                kept.append(None)
                kept[0] = registry.get(address)
            return make(wanted)

        registry._cleanup.pool._make = making
        with registry.get(address) as lease, kept[0] as other:
            assert lease._channel() is other._channel()
            assert [record.leases for record in registry.snapshot()] == [2]
        assert registry.snapshot() == ()


def test_closing_the_registry_in_a_finaliser_while_a_lease_is_taken() -> None:
    """The code that takes it gets the error."""
    with ChannelRegistry() as registry, serving() as (address, _):
        with registry.get(address):
            interrupt_entering(registry, registry.close)
            with pytest.raises(RuntimeError, match="registry is closed"):
                registry.get(address)


def test_an_rpc_that_ends_while_the_registry_is_busy() -> None:
    """Its end waits for no lock: the cleanup closes what is unused after it."""
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        lease = registry.get(address)
        calls = [Stub(lease).hold(b"") for _ in range(2)]
        closed = closing_of(connections(registry)[1])
        ended = threading.Event()
        assert calls[1].add_callback(ended.set)
        with registry._cleanup.pool.mutex:
            calls[1].cancel()
            wait(ended)
            assert [len(lease._record.rpcs), closed.is_set()] == [1, False]
        wait(closed)
        lease.close()


def test_an_rpc_that_ends_after_its_channel_while_the_registry_is_busy() -> None:
    """The cleanup stays for it, though no channel is left."""
    calls: list[Any] = []
    with ChannelRegistry() as registry:
        lease = registry.get("localhost:1", interceptors=[Inventing()])
        calls.append(lease.unary_stream(path("Hold"))(b""))
        lease.close()
        assert registry.snapshot() == ()
        assert not registry._cleanup._leaves()
        with registry._cleanup.pool.mutex:
            in_thread(calls.clear).result()
            assert len(lease._record.rpcs) == 1
        at_rest(registry)
        assert not lease._record.rpcs


class Endless:
    """A call of an interceptor's own class, which is over when it has no references."""

    def cancel(self) -> None: ...


class Inventing(grpc.UnaryStreamClientInterceptor):
    """Answers with such a call."""

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return Endless()


def test_no_thread_for_the_cleanup(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Leases work all the same; the missing cleanup is logged."""
    registry = ChannelRegistry()

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving() as (address, _):
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            lease = registry.get(address)
        assert lease.unary_unary(path("Unary"))(b"a") == b"a"
        lease.close()
        registry.close()
    assert logged_by_us(caplog) == ["idle channels are not closed before their registry is"]


def test_a_channel_that_cannot_be_closed(caplog: pytest.LogCaptureFixture) -> None:
    """The cleanup logs it and closes the others."""
    with ChannelRegistry() as registry:
        leases = [registry.get("localhost:1"), registry.get("localhost:2")]
        broken, other = connections(registry)
        channel, broken.channel = broken.channel, None
        closed = closing_of(other)
        with registry._cleanup.pool.mutex:  # so that the cleanup closes both, and at once
            for lease in leases:
                lease.close()
        wait(closed)
        at_rest(registry)
        channel.close()
    assert logged_by_us(caplog) == ["a channel could not be closed"]
    assert caplog.records[0].levelno == logging.ERROR


# Crowds


THREADS, TASKS, ROUNDS = 64, 500, 40


@contextmanager
def no_leak() -> Iterator[Callable[[], bool]]:
    """Fail if the block leaves connections, threads or objects of the registry behind.

    gRPC closes sockets a little later: there may be some, but not as many as were opened. One
    call may still be on its way out of grpcio's poller, and hold its lease.
    """
    gc.collect()
    objects, threads, files = _objects(), set(threading.enumerate()), _files()

    def leaks() -> bool:
        gc.collect()
        more = max((_objects() - objects).values(), default=0)
        return more > 1 or _files() >= files + ROUNDS

    yield leaks
    until(lambda: not leaks())
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not [name for name in left if "cleanup" in name or "round" in name]


def _objects() -> Counter[str]:
    """Count what lives of the registry's own classes."""
    kinds = (type(thing) for thing in gc.get_objects())
    return Counter(
        kind.__name__ for kind in kinds if str(kind.__module__).startswith("grpc_guard._registry")
    )


def _files() -> int:
    listed = Path("/proc/self/fd")  # of Linux
    return len(list(listed.iterdir())) if listed.exists() else 0


class Peers:
    """The peers whose RPCs a server handles at the same moment."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.alive: Counter[str] = Counter()
        self.most = 0
        self.rpcs = 0

    @contextmanager
    def handling(self, context: Any) -> Iterator[None]:
        peer = context.peer()
        with self.mutex:
            self.alive[peer] += 1
            self.rpcs += 1
            self.most = max(self.most, len(+self.alive))
        yield
        with self.mutex:
            self.alive[peer] -= 1


def test_many_threads_in_turns() -> None:
    """64 threads get, call and close again and again: one connection at a time, none after."""
    peers = Peers()

    def unary(request: bytes, context: Any) -> bytes:
        with peers.handling(context):
            return request

    methods = {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
    with sync_server(methods, mode=None) as address, no_leak():
        _crowd(address)
    assert (peers.most, peers.rpcs) == (1, THREADS * ROUNDS)


def _crowd(address: str) -> None:
    with ChannelRegistry() as registry:
        begin = threading.Barrier(THREADS)

        def rounds() -> int:
            begin.wait(PATIENCE)
            done = 0
            for _ in range(ROUNDS):
                with registry.get(address) as lease:
                    done += lease.unary_unary(path("Unary"))(b"a") == b"a"
            return done

        parties = [in_thread(rounds, name=f"round-{number}") for number in range(THREADS)]
        assert [party.result() for party in parties] == [ROUNDS] * THREADS
        at_rest(registry)
        assert registry.snapshot() == ()


def test_leaving_nothing_to_the_collector() -> None:
    """Leases and RPCs that have ended are gone at once: they are in no cycle."""
    with ChannelRegistry() as registry, serving() as (address, _), registry.get(address):
        gc.collect()
        before = _objects()
        gc.disable()
        try:
            for _ in range(3):
                with registry.get(address) as lease:
                    assert Stub(lease).unary(b"a") == b"a"
                    begun = lease._begin(path("Numbers"), True)  # as a stream does
                    call = set[int]()
                    begun.rpc.hold(call)
                    begun.rpc.end()
                del lease, begun
            assert not _objects() - before  # what an earlier test left may go meanwhile
        finally:
            gc.enable()


async def test_many_tasks_in_turns() -> None:
    """500 tasks do the same."""
    peers = Peers()

    async def unary(request: bytes, context: Any) -> bytes:
        with peers.handling(context):
            await asyncio.sleep(0)
            return request

    methods = {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
    async with aio_server(methods, mode=None) as address:
        with no_leak() as leaks:
            await _crowd_of_tasks(address)
            while leaks():
                await settle()  # the loop holds what was to be called on it
    assert (peers.most, peers.rpcs) == (1, TASKS * ROUNDS // 10)


async def _crowd_of_tasks(address: str) -> None:
    async with aio.ChannelRegistry() as registry:

        async def rounds() -> int:
            done = 0
            for _ in range(ROUNDS // 10):
                async with registry.get(address) as lease:
                    done += await lease.unary_unary(path("Unary"))(b"a") == b"a"
            return done

        done = await asyncio.gather(*(rounds() for _ in range(TASKS)))
        assert done == [ROUNDS // 10] * TASKS
        assert registry.snapshot() == ()


def test_one_thread_after_another() -> None:
    """Each lease that is the last closes its channel: nothing piles up."""
    with serving() as (address, _), no_leak():
        _one_by_one(address)


def _one_by_one(address: str) -> None:
    with ChannelRegistry() as registry:
        for _ in range(ROUNDS):
            with registry.get(address) as lease:
                assert lease.unary_unary(path("Unary"))(b"a") == b"a"
        at_rest(registry)


def test_dropping_a_lease_just_before_its_registry_is_closed() -> None:
    """The registry has ended it by the time of the check: nothing is reported."""
    registry = ChannelRegistry()
    with serving() as (address, _):
        lease = registry.get(address)
        with registry._cleanup.pool.mutex:
            del lease
            registry.close()
        at_rest(registry)
