"""The registry for tasks: as test_registry_sync.py, and what event loops add."""

from __future__ import annotations

import asyncio
import gc
import queue
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
from support.registries import Stub, aio_closing_of, aio_connections, aio_settled
from support.services import AioService
from support.staging import (
    PATIENCE,
    SERVICE,
    AsyncGate,
    aio_server,
    in_thread,
    kept,
    path,
    settle,
    wait,
    within,
)

import grpc_guard
from grpc_guard.aio import ChannelRegistry

Found = Callable[[], list[grpc_guard.Finding]]
Reported = queue.Queue[grpc_guard.Finding]

HERE = __file__


def serving(**options: Any) -> Any:
    return aio_server(AioService().methods(), mode=None, **options)


async def hear(reported: Reported) -> grpc_guard.Finding:
    """Return the next finding."""
    return await within(asyncio.to_thread(reported.get, timeout=PATIENCE))


async def test_rpcs_of_all_shapes_on_a_lease() -> None:
    """A lease is a grpc.aio.Channel that carries every shape of RPC."""
    async with serving() as address, ChannelRegistry() as registry:
        async with registry.get(address) as lease:
            assert isinstance(lease, grpc.aio.Channel)
            stub = Stub(lease)
            assert await stub.unary(b"a") == b"a"
            assert [number async for number in stub.numbers(b"2")] == [b"0", b"1"]
            assert await stub.count([b"a", b"b"]) == b"2"
            echo = stub.echo()
            await echo.write(b"x")
            assert await echo.read() == b"x"
            assert [(record.streams, record.rpcs) for record in registry.snapshot()] == [(1, 4)]
            await echo.done_writing()
            assert await echo.code() is grpc.StatusCode.OK
            await aio_settled(lease)
            (record,) = registry.snapshot()
            assert (record.streams, record.rpcs_in_progress) == (0, 0)
            assert record.connectivity is grpc.ChannelConnectivity.READY
            assert record.used_by == ("test",)


async def test_getting_the_same_channel_twice() -> None:
    """Equal arguments share one channel, and closing one lease leaves the other alone."""
    async with serving() as address, ChannelRegistry() as registry:
        one, two = registry.get(address), registry.get(address)
        closed = aio_closing_of(aio_connections(registry)[0])
        assert one._channel() is two._channel()
        await one.close()
        await one.close()  # no news
        assert await two.unary_unary(path("Unary"))(b"a") == b"a"
        assert not closed.is_set()
        await two.close()
        assert closed.is_set()
        assert registry.snapshot() == ()


async def test_channels_with_credentials_compression_and_interceptors() -> None:
    """They are shared with equal leases only."""
    credentials = grpc.local_channel_credentials()
    async with ChannelRegistry() as registry:
        leases = [
            registry.get("a"),
            registry.get("a", credentials=credentials),
            registry.get("a", credentials=credentials),
            registry.get("a", compression=grpc.Compression.Gzip),
            registry.get("a", interceptors=[LateUnary(0)]),
        ]
        assert [record.leases for record in registry.snapshot()] == [1, 2, 1, 1]
        assert leases[1]._channel() is leases[2]._channel()


async def test_asking_for_a_stub_twice() -> None:
    """The same stub, whose channel no lease closes."""
    async with serving() as address, ChannelRegistry() as registry:
        stub = registry.stub(Stub, address)
        async with registry.get(address) as lease:
            assert lease._channel() is stub.channel._channel()
        assert registry.stub(Stub, address) is stub
        assert await stub.unary(b"a") == b"a"


async def test_starting_an_rpc_on_a_closed_lease(found: Found) -> None:
    """grpcio's own kind of error says where the lease was taken and where it was closed."""
    async with serving() as address, ChannelRegistry() as registry:
        async with registry.get(address) as lease:
            stub = Stub(lease)
        for start in (stub.unary, stub.hold, stub.count, stub.echo):
            with pytest.raises(grpc.aio.UsageError) as raised:
                start(b"a")
        message = str(raised.value)
        assert message.startswith(
            f"Channel is closed. the lease of {address!r} was taken at {HERE}:"
        )
        assert message.endswith(" by task 'test'")
        assert " and closed at " in message
        findings = found()
        assert [finding.rule for finding in findings] == ["closed-channel"] * 4
        assert [finding.api for finding in findings] == ["aio"] * 4


async def test_watching_a_lease() -> None:
    """It tells the state of the shared channel until it has ended."""
    async with serving() as address, ChannelRegistry() as registry:
        async with registry.get(address) as lease:
            assert lease.get_state() is grpc.ChannelConnectivity.IDLE
            waiting = asyncio.ensure_future(
                lease.wait_for_state_change(grpc.ChannelConnectivity.IDLE)
            )
            await within(lease.channel_ready())
            await within(waiting)
        assert lease.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        with pytest.raises(grpc.aio.UsageError, match=r"Channel is closed\. the lease of"):
            await lease.channel_ready()


async def test_closing_a_lease_during_its_streams() -> None:
    """What was started through it is cancelled, and what others started goes on."""
    async with serving() as address, ChannelRegistry() as registry:
        lease, other = registry.get(address), registry.get(address)
        ours, theirs = Stub(lease).echo(), Stub(other).echo()
        for call in (ours, theirs):
            await call.write(b"x")
            assert await call.read() == b"x"
        await lease.close()
        assert ours.cancelled()
        await theirs.write(b"y")
        assert await theirs.read() == b"y"
        await other.close()
        assert theirs.cancelled()


async def test_closing_a_lease_with_a_grace_period() -> None:
    """What lives goes on to its end; the channel closes after it."""
    async with serving() as address, ChannelRegistry() as registry:
        lease = registry.get(address)
        call = Stub(lease).echo()
        await call.write(b"x")
        assert await call.read() == b"x"
        closing = asyncio.create_task(lease.close(PATIENCE))
        await asyncio.sleep(0)
        assert lease.get_state() is grpc.ChannelConnectivity.SHUTDOWN
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        await within(closing)
        assert await call.code() is grpc.StatusCode.OK
        assert registry.snapshot() == ()
        idle = registry.get(address)
        await idle.close(PATIENCE)  # nothing lives: at once
        assert registry.snapshot() == ()


async def test_closing_a_lease_when_the_grace_period_is_over_or_cancelled() -> None:
    """What lives still is cancelled."""
    async with serving() as address, ChannelRegistry() as registry:
        lease = registry.get(address)
        call = Stub(lease).echo()
        await call.write(b"x")
        await lease.close(0.01)
        assert call.cancelled()
        lease = registry.get(address)
        call = Stub(lease).echo()
        await call.write(b"x")
        closing = asyncio.create_task(lease.close(PATIENCE))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert call.cancelled()
        assert registry.snapshot() == ()


async def test_dropping_a_lease(reported: Reported) -> None:
    """It is released, and recorded with the line where it was taken."""
    async with serving() as address, ChannelRegistry() as registry:
        registry.get(address)
        closed = aio_closing_of(aio_connections(registry)[0])
        await within(closed.wait())
        finding = await hear(reported)
        assert finding.rule == "unclosed-channel"
        assert finding.caller.kind == "task"
        assert finding.caller.site is not None
        assert finding.caller.site.code == "registry.get(address)"
        assert registry.snapshot() == ()
    grpc_guard.clear_findings()


async def test_dropping_a_lease_whose_stream_is_open(reported: Reported) -> None:
    """The stream goes on; the channel closes when it has ended."""
    async with serving() as address, ChannelRegistry() as registry:
        call = registry.get(address).stream_stream(path("Echo"))()
        closed = aio_closing_of(aio_connections(registry)[0])
        await call.write(b"x")
        assert (await hear(reported)).rule == "unclosed-channel"
        assert await call.read() == b"x"
        assert not closed.is_set()
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        await within(closed.wait())
    grpc_guard.clear_findings()


async def test_dropping_an_aio_call() -> None:
    """The same happens to it as to grpcio's own call: counting it makes no cycle."""
    async with (
        serving() as address,
        grpc.aio.insecure_channel(address) as plain,
        ChannelRegistry(mode="off") as registry,
        registry.get(address) as lease,
    ):
        gone = []
        gc.disable()
        try:
            for channel in (plain, lease):
                live, finished = Stub(channel).echo(), Stub(channel).echo()
                await finished.done_writing()
                assert await finished.read() is grpc.aio.EOF
                await live.write(b"x")
                assert await live.read() == b"x"
                dropped = weakref.ref(live), weakref.ref(finished)
                del live, finished
                gone.append([call() is None for call in dropped])
        finally:
            gc.enable()
        (plainly, leased) = gone
        assert leased == plainly  # grpcio 1.85 holds a live one in a task, 1.66 does not
        assert leased[1]


class LateUnary(grpc.aio.UnaryUnaryClientInterceptor):
    """Lets an RPC through when told to."""

    def __init__(self, go: Any) -> None:
        self.go = go

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        await self.go()
        return await continuation(details, request)


class LateStream(grpc.aio.StreamStreamClientInterceptor):
    """Lets an RPC through when told to."""

    def __init__(self, go: Any) -> None:
        self.go = go

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        await self.go()
        return await continuation(details, requests)


async def test_streams_through_interceptors() -> None:
    """They are counted from their start to their end."""
    async with serving() as address, ChannelRegistry() as registry:
        gate = AsyncGate()
        async with registry.get(address, interceptors=[LateStream(gate.park)]) as lease:
            call = lease.stream_stream(path("Echo"))()
            await gate.wait()
            assert [record.streams for record in registry.snapshot()] == [1]
            gate.open()
            await call.write(b"x")
            assert await call.read() == b"x"
            assert [record.streams for record in registry.snapshot()] == [1]
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            await aio_settled(lease)
            assert [record.streams for record in registry.snapshot()] == [0]


class Relaying(grpc.aio.StreamStreamClientInterceptor):
    """Returns an iterator of its own over the responses."""

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        call = await continuation(details, requests)

        async def relay() -> AsyncIterator[bytes]:
            async for response in call:
                yield response

        return relay()


async def test_interceptors_that_iterate_themselves() -> None:
    """The RPC below their iterator is the one that is counted."""
    async with serving() as address, ChannelRegistry() as registry:
        async with registry.get(address, interceptors=[Relaying()]) as lease:
            call = lease.stream_stream(path("Echo"))(iter([b"x"]))
            assert [response async for response in call] == [b"x"]
            await aio_settled(lease)
            assert [record.streams for record in registry.snapshot()] == [0]


async def test_interceptors_that_raise() -> None:
    """The RPC is over, whether they raise or are cancelled."""
    async with serving() as address, ChannelRegistry() as registry:
        gate = AsyncGate()

        async def refuse() -> None:
            await gate.park()
            metadata = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, metadata, metadata)

        async with registry.get(address, interceptors=[LateUnary(refuse)]) as lease:
            unary = lease.unary_unary(path("Unary"))
            raising, cancelled = unary(b"a"), unary(b"a")
            await gate.wait()
            cancelled.cancel()
            gate.open()
            with pytest.raises(grpc.aio.AioRpcError):
                await raising
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            await aio_settled(lease)
            assert [record.rpcs_in_progress for record in registry.snapshot()] == [0]


class Answering(grpc.aio.UnaryUnaryClientInterceptor):
    """Answers itself, without an RPC."""

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return b"own"


async def test_interceptors_that_answer_themselves() -> None:
    """The RPC is over with their answer."""
    async with ChannelRegistry() as registry:
        async with registry.get("localhost:1", interceptors=[Answering()]) as lease:
            assert await lease.unary_unary(path("Unary"))(b"a") == b"own"
            await aio_settled(lease)
            assert [record.rpcs_in_progress for record in registry.snapshot()] == [0]


class OwnCall:
    """A call of an interceptor's own kind, without anything of grpcio below it."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], object]] = []
        self.is_done = False

    def done(self) -> bool:
        return self.is_done

    def cancel(self) -> bool:
        return False

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        self.callbacks.append(callback)


class Replacing(grpc.aio.UnaryUnaryClientInterceptor):
    """Returns a call of its own kind."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self.call


grpc.aio.UnaryUnaryCall.register(OwnCall)


async def test_a_call_of_an_interceptors_own_kind() -> None:
    """Its own callback tells of its end."""
    async with ChannelRegistry() as registry:
        own = OwnCall()
        async with registry.get("localhost:1", interceptors=[Replacing(own)]) as lease:
            call = lease.unary_unary(path("Unary"))(b"a")
            await call._interceptors_task
            await asyncio.sleep(0)
            assert [record.rpcs_in_progress for record in registry.snapshot()] == [1]
            own.is_done = True
            for callback in own.callbacks:
                callback(own)
            assert [record.rpcs_in_progress for record in registry.snapshot()] == [0]


async def test_a_channel_that_becomes_idle() -> None:
    """It is kept for `idle_seconds` after its last lease; coming back in time keeps it."""
    async with serving() as address:
        async with ChannelRegistry(idle_seconds=0.05) as registry:
            async with registry.get(address):
                closed = aio_closing_of(aio_connections(registry)[0])
            assert [record.leases for record in registry.snapshot()] == [0]
            async with registry.get(address):
                assert len(registry.snapshot()) == 1
            await within(closed.wait())
            assert registry.snapshot() == ()


async def test_closing_a_registry_during_streams(found: Found) -> None:
    """Without a grace period they are cancelled, and every lease has ended."""
    async with serving() as address:
        registry = ChannelRegistry()
        lease = registry.get(address)
        call = Stub(lease).echo()
        await call.write(b"x")
        await registry.close()
        await registry.close()  # no news
        assert call.cancelled()
        with pytest.raises(grpc.aio.UsageError):
            lease.unary_unary(path("Unary"))
            Stub(lease).unary(b"")
        with pytest.raises(RuntimeError) as raised:
            registry.get(address)
        assert str(raised.value).startswith(f"registry is closed: close() was called at {HERE}:")
        assert [finding.rule for finding in found()] == ["closed-channel"]


async def test_closing_a_registry_with_a_grace_period() -> None:
    """What lives goes on to its end."""
    async with serving() as address:
        registry = ChannelRegistry()
        lease = registry.get(address)
        call = Stub(lease).echo()
        await call.write(b"x")
        closing = asyncio.create_task(registry.close(PATIENCE))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="registry is closed"):
            registry.get(address)
        assert await call.read() == b"x"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        await within(closing)
        assert await call.code() is grpc.StatusCode.OK


async def test_cancelling_the_grace_period_of_a_registry() -> None:
    """Nothing is left open: there is no second try."""
    async with serving() as address:
        registry = ChannelRegistry()
        lease = registry.get(address)
        call = Stub(lease).echo()
        closed = aio_closing_of(aio_connections(registry)[0])
        await call.write(b"x")
        closing = asyncio.create_task(registry.close(PATIENCE))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert closed.is_set()
        assert call.cancelled()


async def test_closing_a_registry_while_a_lease_waits_for_its_streams() -> None:
    """Both wait, and both go on when the last stream has ended."""
    async with serving() as address:
        registry = ChannelRegistry()
        lease = registry.get(address)
        call = Stub(lease).echo()
        await call.write(b"x")
        closing = [asyncio.create_task(lease.close(2 * PATIENCE))]
        await asyncio.sleep(0)
        closing.append(asyncio.create_task(registry.close(2 * PATIENCE)))
        await asyncio.sleep(0)
        await call.done_writing()
        assert await call.read() == b"x"
        assert await call.read() is grpc.aio.EOF
        await within(asyncio.gather(*closing))
        assert await call.code() is grpc.StatusCode.OK


def test_a_closed_registry_on_a_new_loop() -> None:
    """It is closed there too."""
    registry = ChannelRegistry()
    asyncio.run(registry.close())

    async def get() -> None:
        registry.get("a")

    with pytest.raises(RuntimeError, match=r"registry is closed: close\(\) was called at"):
        asyncio.run(get())


@pytest.mark.parametrize(
    "ask", [ChannelRegistry.get, lambda *args: ChannelRegistry.stub(args[0], Stub, args[1])]
)
def test_asking_without_a_running_loop(ask: Any) -> None:
    """The error says what to do."""
    with pytest.raises(RuntimeError) as raised:
        ask(ChannelRegistry(), "localhost:1")
    assert str(raised.value) == (
        "no event loop runs here, and channels of grpc.aio belong to one: call get() and stub() in "
        "a coroutine, or use grpc_guard.ChannelRegistry for threads"
    )


async def test_a_bad_target() -> None:
    """The error names the value."""
    with pytest.raises(ValueError, match="the target is empty: ''"):
        ChannelRegistry().get("")


async def test_two_registries() -> None:
    """Registries share nothing, and closing one does not touch the other."""
    async with serving() as address, ChannelRegistry() as one, ChannelRegistry() as two:
        ours, theirs = one.get(address), two.get(address)
        assert ours._channel() is not theirs._channel()
        assert one.stub(Stub, address) is not two.stub(Stub, address)
        await one.close()
        assert await theirs.unary_unary(path("Unary"))(b"a") == b"a"
        assert len(two.snapshot()) == 1
        await theirs.close()


async def test_a_server_that_restarts_while_a_lease_lives() -> None:
    """The lease goes on with the new server, on the same channel."""
    async with ChannelRegistry() as registry:
        with ExitStack() as keeping:
            async with serving() as address:
                keeping.enter_context(kept(address))
                lease = registry.get(address)
                channel, unary = lease._channel(), lease.unary_unary(path("Unary"))
                assert await unary(b"a") == b"a"
            # An RPC on the old connection would fail, ready or not.
            while registry.snapshot()[0].connectivity is grpc.ChannelConnectivity.READY:
                await settle()
            server = grpc.aio.server()
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(SERVICE, AioService().methods()),)
            )
            assert server.add_insecure_port(address) == int(address.rpartition(":")[2])
        await server.start()
        try:
            assert await unary(b"b", wait_for_ready=True, timeout=PATIENCE) == b"b"
            assert lease._channel() is channel
            await lease.close()
        finally:
            await server.stop(None)


async def test_dropping_a_lease_in_a_done_callback(reported: Reported) -> None:
    """The collector may run while grpcio tells of an end: the lease goes, and its channel."""
    async with serving() as address, ChannelRegistry() as registry:
        cycle: list[Any] = [registry.get(address)]
        cycle.append(cycle)
        closed = aio_closing_of(aio_connections(registry)[0])
        call = Stub(cycle[0]).unary(b"a")
        dropped = asyncio.Event()

        def drop(_: object) -> None:
            gc.collect()
            dropped.set()

        del cycle
        call.add_done_callback(drop)
        assert await call == b"a"
        await within(dropped.wait())
        await within(closed.wait())
        assert (await hear(reported)).rule == "unclosed-channel"
        assert registry.snapshot() == ()
    grpc_guard.clear_findings()


async def test_leases_of_two_loops() -> None:
    """Each loop has a channel of its own."""
    async with serving() as address, ChannelRegistry() as registry:

        async def elsewhere() -> tuple[Any, bytes]:
            async with registry.get(address) as lease:
                assert len(registry.snapshot()) == 2
                return lease._channel(), await lease.unary_unary(path("Unary"))(b"b")

        async with registry.get(address) as lease:
            channel, response = await within(asyncio.to_thread(asyncio.run, elsewhere()))
            assert response == b"b"
            assert lease._channel() is not channel
            assert await lease.unary_unary(path("Unary"))(b"a") == b"a"


async def test_closing_from_another_loop() -> None:
    """A lease, and a registry, are closed on the loops of their channels."""
    async with serving() as address:
        registry = ChannelRegistry()
        lease, other = registry.get(address), registry.get(address)
        call, last = Stub(lease).echo(), Stub(other).echo()
        await call.write(b"x")
        await last.write(b"x")
        await within(asyncio.to_thread(asyncio.run, lease.close()))
        assert call.cancelled()
        assert not last.cancelled()
        await within(asyncio.to_thread(asyncio.run, registry.close()))
        assert last.cancelled()


async def test_starting_a_stream_on_another_loop(found: Found) -> None:
    """It breaks the rule wrong-loop, and makes no new connection."""
    async with serving() as address, ChannelRegistry(max_streams=1) as registry:
        async with registry.get(address) as lease:
            stub = Stub(lease)
            call = stub.echo()

            async def elsewhere() -> None:
                stub.echo()

            party = in_thread(asyncio.run, elsewhere())
            error = await within(asyncio.to_thread(party.exception))
            assert isinstance(error, grpc_guard.ConcurrencyError)
            assert [record.streams for record in registry.snapshot()] == [1]
            call.cancel()
    assert [finding.rule for finding in found()] == ["wrong-loop"]


async def test_a_loop_that_is_closed_with_live_leases() -> None:
    """Its channels are forgotten; the other loops' are not, and nothing hangs."""
    async with serving() as address, ChannelRegistry() as registry:
        kept: list[Any] = []

        async def elsewhere() -> None:
            lease = registry.get(address)
            kept.append((lease, lease.unary_unary(path("Unary")), registry.stub(Stub, address)))
            assert await kept[0][1](b"a") == b"a"

        async def later() -> None:
            await registry.get(address).close()

        ours = registry.stub(Stub, address)
        await within(asyncio.to_thread(asyncio.run, elsewhere()))
        ((lease, unary, stub),) = kept
        assert len(registry.snapshot()) == 2
        await within(asyncio.to_thread(asyncio.run, later()))
        assert len(registry.snapshot()) == 1
        assert registry.stub(Stub, address) is ours
        assert await ours.unary(b"a") == b"a"
        async with registry.get(address):
            for start in (unary, stub.unary):
                with pytest.raises(grpc.aio.UsageError, match="on an event loop that is closed"):
                    start(b"a")
        await lease.close()  # no news
        grpc_guard.clear_findings()


def test_closing_a_lease_of_a_closed_loop() -> None:
    """Nothing is left to do."""
    registry = ChannelRegistry()

    async def get() -> Any:
        return registry.get("localhost:1")

    lease = asyncio.run(get())
    asyncio.run(lease.close())
    asyncio.run(registry.close(1))
    assert registry.snapshot() == ()


async def test_closing_a_registry_beside_a_loop_that_ends() -> None:
    """It goes on: what the other loop cancels at its end is not what waits here."""
    registry, taken = ChannelRegistry(), threading.Event()

    async def elsewhere() -> None:
        lease = registry.get("localhost:1")
        (connection,) = aio_connections(registry)
        close, entered = connection.channel.close, asyncio.Event()

        async def close_for_ever() -> None:
            entered.set()
            try:
                await asyncio.Event().wait()
            finally:
                await close()

        connection.channel.close = close_for_ever
        taken.set()
        await within(entered.wait())
        assert lease.get_state() is grpc.ChannelConnectivity.SHUTDOWN

    party = in_thread(asyncio.run, elsewhere())
    await asyncio.to_thread(wait, taken)
    await within(registry.close())
    await asyncio.to_thread(party.result)


@pytest.mark.parametrize("what", ["lease", "registry"])
def test_closing_on_a_loop_that_stands_still(what: str) -> None:
    """It ends at once; what was started, and the channel, when the loop runs again."""
    registry = ChannelRegistry()
    loop = asyncio.new_event_loop()

    async def start() -> tuple[Any, Any, asyncio.Event]:
        lease = registry.get("localhost:1")
        return lease, Stub(lease).echo(), aio_closing_of(aio_connections(registry)[0])

    async def end(call: Any, closed: asyncio.Event) -> None:
        await within(closed.wait())
        assert call.cancelled()
        await registry.close()

    async def close() -> None:
        await within((lease if what == "lease" else registry).close())

    try:
        lease, call, closed = loop.run_until_complete(start())
        asyncio.run(close())
        assert not call.cancelled()
        with pytest.raises(grpc.aio.UsageError, match="Channel is closed"):
            lease._channel()
        loop.run_until_complete(end(call, closed))
    finally:
        loop.close()


def test_a_lease_that_is_dropped_after_its_loop(found: Found) -> None:
    """It is recorded when the registry is used next."""
    registry = ChannelRegistry()
    kept = []

    async def get() -> None:
        kept.append(registry.get("localhost:1"))

    asyncio.run(get())
    kept.clear()
    assert found() == []

    async def use() -> None:
        await registry.get("localhost:1").close()

    asyncio.run(use())
    assert [finding.rule for finding in found()] == ["unclosed-channel"]
    asyncio.run(registry.close())


async def test_dropping_a_registry() -> None:
    """Its stubs go with it, their channels are closed, and nothing is reported."""
    registry = ChannelRegistry()
    registry.stub(Stub, "localhost:1")
    closed = aio_closing_of(aio_connections(registry)[0])
    del registry
    gc.collect()
    await within(closed.wait())


async def test_the_repr_of_a_lease() -> None:
    """It names the target and the place."""
    async with ChannelRegistry() as registry, registry.get("localhost:1") as lease:
        assert repr(lease).startswith(f"<lease of 'localhost:1', taken at {HERE}:")
        assert grpc_guard.wrap(lease) is lease


async def test_clean_up_that_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the cleanup is requested, there is one timer for the next one."""
    loop = asyncio.get_running_loop()
    handles: list[asyncio.TimerHandle] = []

    def call_later(*arguments: Any) -> asyncio.TimerHandle:
        handles.append(later(*arguments))
        return handles[-1]

    async with ChannelRegistry(idle_seconds=3600.0) as registry:
        await registry.get("127.0.0.1:1").close()  # is idle from now on
        (loop_pool,) = registry._loop_pools.values()
        later = loop.call_later
        monkeypatch.setattr(loop, "call_later", call_later)
        for _ in range(3):
            loop_pool._clean_up()
        monkeypatch.undo()
        assert [handle.cancelled() for handle in handles] == [True, True, False]
