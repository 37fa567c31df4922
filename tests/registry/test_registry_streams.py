"""max_streams: the next connection opens in time, and closes when it is not needed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import grpc.aio
from support.registries import (
    CountingInterceptor,
    Stub,
    aio_closing_of,
    aio_connections,
    at_rest,
    closing_of,
    connections,
    serving,
    settled,
)
from support.staging import PATIENCE, Gate, aio_server, in_thread, path, sync_server, wait, within

from grpc_guard import ChannelRegistry, aio

CROWD = 1000
MOST = ("grpc.max_concurrent_streams", 100)  # what servers and proxies commonly allow


def counts(registry: Any) -> list[int]:
    """Return how many streams live on each channel."""
    return [record.streams for record in registry.snapshot()]


def test_more_streams_than_a_connection_takes() -> None:
    """They fill one connection after the other; one that is empty again closes."""
    with ChannelRegistry(max_streams=2) as registry, serving() as (address, _):
        lease = registry.get(address)
        stub = Stub(lease)
        calls = [stub.hold(b"") for _ in range(5)]
        assert [next(call) for call in calls] == [b"0"] * 5
        assert counts(registry) == [2, 2, 1]
        last = connections(registry)[2]
        closed = closing_of(last)
        calls.pop().cancel()
        wait(closed)
        assert counts(registry) == [2, 2]
        for call in calls:
            call.cancel()
        lease.close()
        at_rest(registry)


def test_the_connections_are_real() -> None:
    """The server sees another peer; a stub made before uses the new one."""
    peers = set()
    gate = Gate()

    def hold(request: bytes, context: Any) -> Iterator[bytes]:
        peers.add(context.peer())
        yield b""
        gate.park()

    methods = {"Hold": grpc.unary_stream_rpc_method_handler(hold)}
    with ChannelRegistry(max_streams=1) as registry, sync_server(methods, mode=None) as address:
        with registry.get(address) as lease:
            start = lease.unary_stream(path("Hold"))
            calls = [start(b"") for _ in range(3)]
            for call in calls:
                next(call)
            gate.open()
            for call in calls:
                assert list(call) == []
    assert len(peers) == 3


def test_a_stub_that_outlives_connections() -> None:
    """It forgets those that are closed when it meets a new one."""
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            stub = Stub(lease)
            call = stub.hold(b"")
            for _ in range(3):
                other = stub.hold(b"")
                closed = closing_of(connections(registry)[1])
                other.cancel()
                wait(closed)
            assert len(stub.hold._plain) == 2
            call.cancel()


def test_the_first_connection_with_room_is_used() -> None:
    """What ends makes room, and new streams go there rather than to a new connection."""
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        with registry.get(address) as lease, registry.get(address) as other:
            one = Stub(lease).hold(b"")
            two = Stub(other).hold(b"")
            assert (next(one), next(two)) == (b"0", b"0")
            one.cancel()
            settled(lease)
            assert counts(registry) == [0, 1]
            three = Stub(lease).hold(b"")
            assert counts(registry) == [1, 1]
            three.cancel()
            two.cancel()
            settled(lease)
            settled(other)


def test_unary_rpcs_beside_full_connections() -> None:
    """They are not counted, and go where there is room: behind a full connection they might wait.

    The connection opened for one is kept while it is in progress.
    """
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        lease = registry.get(address)
        stub = Stub(lease)
        call = stub.hold(b"")
        assert next(call) == b"0"
        gate = Gate()
        parked = lease.unary_unary(path("Unary"), request_serializer=gate.park_at(b"b"))
        assert stub.unary(b"a") == b"a"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(parked, b"b")
            with gate.held():
                (_, second) = connections(registry)
                closed = closing_of(second)
                assert (second.live, second.streams) == (1, 0)
                with registry.get(address) as other:
                    beside = Stub(other).hold(b"")
                    assert next(beside) == b"0"
                    assert (second.live, second.streams) == (2, 1)
                    beside.cancel()
                    settled(other)
                assert not registry._cleanup.pool._idle
                assert not closed.is_set()
            assert waiting.result(PATIENCE) == b"b"
        wait(closed)
        call.cancel()
        lease.close()


def test_no_limit() -> None:
    """With None all streams go to one connection."""
    with ChannelRegistry(max_streams=None) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            start = Stub(lease).hold
            calls = [start(b"") for _ in range(8)]
            assert counts(registry) == [8]
            for call in calls:
                call.cancel()
            settled(lease)


def test_an_idle_spare_connection_is_used_again() -> None:
    """It is kept as long as `idle_seconds` says, like any channel."""
    with ChannelRegistry(max_streams=1, idle_seconds=1000) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            with registry.get(address) as other:
                one, two = Stub(lease).hold(b""), Stub(other).hold(b"")
                assert (next(one), next(two)) == (b"0", b"0")
                first, second = connections(registry)
                two.cancel()
                settled(other)
            assert list(registry._cleanup.pool._idle) == [second]
            three = Stub(lease).hold(b"")
            assert connections(registry) == [first, second]
            assert counts(registry) == [1, 1]
            assert not registry._cleanup.pool._idle
            three.cancel()
            one.cancel()
            settled(lease)


def test_a_connection_that_became_roomy_while_another_thread_made_one() -> None:
    """Streams that wait for the same new connection share it."""
    with ChannelRegistry(max_streams=2) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            start = Stub(lease).hold
            calls = [start(b""), start(b"")]
            gate = Gate()
            pool = registry._cleanup.pool
            make, made = pool._make, []
            pool._make = lambda wanted: made.append(gate.park(make(wanted))) or make(wanted)
            starting = in_thread(start, b"")
            with gate.held():
                also = in_thread(start, b"")
            calls += [starting.result(), also.result()]
            assert len(made) == 1
            assert counts(registry) == [2, 2]
            for call in calls:
                call.cancel()
            settled(lease)


def test_closing_a_lease_while_a_connection_is_made_for_it(found: Any) -> None:
    """The stream that needed it gets the error of a closed lease, and the connection is dropped."""
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        lease = registry.get(address)
        start = Stub(lease).hold
        call = start(b"")
        gate = Gate()
        pool = registry._cleanup.pool
        make = pool._make
        pool._make = lambda wanted: gate.park(make(wanted))
        starting = in_thread(start, b"")
        with gate.held():
            lease.close()
        assert isinstance(starting.exception(), ValueError)
        assert registry.snapshot() == ()
        assert lease._record.entry.connections == []
        assert call.code() is grpc.StatusCode.CANCELLED
    assert [finding.rule for finding in found()] == ["closed-channel"]


def test_interceptors_on_each_connection() -> None:
    """Every connection has the interceptors of its lease."""
    interceptor = CountingInterceptor()
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        with registry.get(address, interceptors=[interceptor]) as lease:
            gate = Gate()
            echo = lease.stream_stream(path("Echo"), request_serializer=gate.park_at(b"x"))
            calls = [echo(iter([b"x"])) for _ in range(2)]
            assert counts(registry) == [1, 1]
            gate.open()
            assert [list(call) for call in calls] == [[b"x"], [b"x"]]
            settled(lease)
    assert interceptor.seen == [path("Echo")] * 2


class Crowded:
    """A server's handlers that hold streams, and what they see of them."""

    def __init__(self) -> None:
        self.peers: Counter[str] = Counter()
        self.everybody, self.go = asyncio.Event(), asyncio.Event()

    def methods(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Hold": grpc.unary_stream_rpc_method_handler(self.hold),
            "Unary": grpc.unary_unary_rpc_method_handler(self.peer),
        }

    async def hold(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.peers[context.peer()] += 1
        if self.peers.total() == CROWD:
            self.everybody.set()
        yield b"0"
        await self.go.wait()

    async def peer(self, request: bytes, context: Any) -> bytes:
        return context.peer().encode()


async def test_a_thousand_streams() -> None:
    """They use ten connections, the server sees them all at once, and one is left after them."""
    crowd = Crowded()
    async with (
        aio_server(crowd.methods(), mode=None, options=[MOST]) as address,
        aio.ChannelRegistry(max_streams=100) as registry,
        registry.get(address) as lease,
    ):
        start = lease.unary_stream(path("Hold"))
        calls = [start(b"") for _ in range(CROWD)]
        await within(crowd.everybody.wait())  # none is queued: each handler runs
        assert sorted(crowd.peers.values()) == [100] * 10
        assert counts(registry) == [100] * 10
        spare = aio_connections(registry)[1:]
        closed = [aio_closing_of(connection) for connection in spare]
        crowd.go.set()
        for call in calls:
            assert await call.read() == b"0"
            assert await call.read() is grpc.aio.EOF
        for event in closed:
            await within(event.wait())
        assert counts(registry) == [0]
        unary = lease.unary_unary(path("Unary"))
        assert len({await unary(b"") for _ in range(10)}) == 1


async def test_a_thousand_streams_of_one_thread() -> None:
    """The same with a registry for threads."""
    crowd = Crowded()
    async with aio_server(crowd.methods(), mode=None, options=[MOST]) as address:
        loop = asyncio.get_running_loop()

        def start(lease: Any) -> list[Any]:
            hold = lease.unary_stream(path("Hold"))
            return [hold(b"") for _ in range(CROWD)]

        def drain(lease: Any, calls: list[Any]) -> int:
            spare = [closing_of(connection) for connection in connections(registry)[1:]]
            loop.call_soon_threadsafe(crowd.go.set)
            assert all(list(call) == [b"0"] for call in calls)
            for event in spare:
                wait(event)
            settled(lease)
            unary = lease.unary_unary(path("Unary"))
            return len({unary(b"") for _ in range(10)})

        with ChannelRegistry(max_streams=100) as registry, registry.get(address) as lease:
            calls = await within(asyncio.to_thread(start, lease))
            await within(crowd.everybody.wait())
            assert sorted(crowd.peers.values()) == [100] * 10
            assert counts(registry) == [100] * 10
            assert await within(asyncio.to_thread(drain, lease, calls)) == 1
            assert counts(registry) == [0]
        await asyncio.to_thread(at_rest, registry)
