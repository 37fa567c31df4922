"""The registry for threads: which leases share a channel, and when it closes."""

from __future__ import annotations

import gc
import queue
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from inside import sync
from support.registries import (
    CountingInterceptor,
    Stub,
    at_rest,
    closing_of,
    connections,
    serving,
    settled,
)
from support.services import Service
from support.sharing import until
from support.staging import PATIENCE, Gate, in_thread, kept, logged_by_us, path, wait

import grpc_guard
from grpc_guard import ChannelRegistry

Found = Callable[[], list[grpc_guard.Finding]]
Reported = queue.Queue[grpc_guard.Finding]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as (address, _):
        yield address


@pytest.fixture
def registry() -> Iterator[ChannelRegistry]:
    with ChannelRegistry() as registry:
        yield registry
    at_rest(registry)


# Sharing


def test_rpcs_of_all_shapes_on_a_lease(registry: ChannelRegistry, address: str) -> None:
    """A lease is a grpc.Channel that carries every shape of RPC."""
    with registry.get(address) as lease:
        assert isinstance(lease, grpc.Channel)
        stub = Stub(lease)
        assert stub.unary(b"a") == b"a"
        assert stub.unary.with_call(b"b")[0] == b"b"
        assert stub.unary.future(b"c").result(PATIENCE) == b"c"
        assert list(stub.numbers(b"3")) == [b"0", b"1", b"2"]
        assert stub.count(iter([b"a", b"b"])) == b"2"
        assert stub.count.with_call(iter([b"a"]))[0] == b"1"
        assert stub.count.future(iter([])).result(PATIENCE) == b"0"
        assert list(stub.echo(iter([b"x"]))) == [b"x"]
        settled(lease)
        (record,) = registry.snapshot()
        assert (record.rpcs, record.rpcs_in_progress, record.streams) == (8, 0, 0)


def test_getting_the_same_channel_twice(registry: ChannelRegistry, address: str) -> None:
    """Equal arguments share one channel; each get() is a lease of its own."""
    options = [("grpc.max_receive_message_length", 1000)]
    with registry.get(address, options=options) as one:
        with registry.get(address, options=tuple(options)) as two:
            assert one is not two
            assert one._channel() is two._channel()
            assert [record.leases for record in registry.snapshot()] == [2]


@pytest.mark.parametrize(
    "arguments",
    [
        {"credentials": grpc.local_channel_credentials()},
        {"options": [("grpc.primary_user_agent", "x")]},
        {"compression": grpc.Compression.Gzip},
        {"interceptors": [CountingInterceptor()]},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_getting_different_channels(
    registry: ChannelRegistry, address: str, arguments: dict[str, Any]
) -> None:
    """Different credentials, options, compression or interceptors never share a channel."""
    with registry.get(address) as one, registry.get(address, **arguments) as two:
        assert one._channel() is not two._channel()
        with registry.get(address, **arguments) as three:
            assert three._channel() is two._channel()
            assert three.unary_unary(path("Unary"))(b"a") == b"a"


def test_equal_credentials_and_options_of_another_kind(registry: ChannelRegistry) -> None:
    """Credentials are the same only if they are one object, options if they are of one kind."""
    with (
        registry.get("a", credentials=grpc.local_channel_credentials()),
        registry.get("a", credentials=grpc.local_channel_credentials()),
        registry.get("a", options=[("grpc.x", 1)]),
        registry.get("a", options=[("grpc.x", True)]),
        registry.get("a", interceptors=[CountingInterceptor()]),
        registry.get("a", interceptors=[CountingInterceptor()]),
    ):
        assert [record.leases for record in registry.snapshot()] == [1] * 6


def test_rpcs_through_interceptors(registry: ChannelRegistry, address: str) -> None:
    """The interceptors of a lease see its RPCs."""
    interceptor = CountingInterceptor()
    with registry.get(address, interceptors=[interceptor]) as lease:
        stub = Stub(lease)
        assert stub.unary(b"a") == b"a"
        assert stub.unary.future(b"a").result(PATIENCE) == b"a"
        assert list(stub.echo(iter([b"x"]))) == [b"x"]
        settled(lease)
        assert [record.streams for record in registry.snapshot()] == [0]
        assert registry.snapshot()[0].connectivity is grpc.ChannelConnectivity.READY
    assert interceptor.seen == [path("Unary"), path("Unary"), path("Echo")]


class Returning(grpc.UnaryStreamClientInterceptor):
    """Returns a call of its own kind."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self.call()


class OwnCall:
    """What an interceptor may return: no call of grpcio's, and iterable."""

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"own"])


def test_a_call_of_an_interceptors_own_kind(registry: ChannelRegistry, address: str) -> None:
    """It counts as long as it has references; one that cannot be held weakly does not count."""
    with registry.get(address, interceptors=[Returning(OwnCall)]) as lease:
        call = lease.unary_stream(path("Numbers"))(b"1")
        assert list(call) == [b"own"]
        assert [record.streams for record in registry.snapshot()] == [1]
        del call
        settled(lease)
        assert [record.streams for record in registry.snapshot()] == [0]
    with registry.get(address, interceptors=[Returning(lambda: [b"list"])]) as lease:
        assert lease.unary_stream(path("Numbers"))(b"1") == [b"list"]
        assert [record.streams for record in registry.snapshot()] == [0]


class StubbornCall(OwnCall):
    """One that does not let itself be cancelled."""

    def cancel(self) -> None:
        raise KeyError("own")


@pytest.mark.parametrize(
    ("kind", "logged"), [(OwnCall, []), (StubbornCall, ["a call could not be cancelled"])]
)
def test_closing_a_lease_during_a_call_of_an_interceptors_own_kind(
    registry: ChannelRegistry,
    address: str,
    kind: type[OwnCall],
    logged: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether or not the call can be cancelled, the lease ends and the channel closes."""
    lease = registry.get(address, interceptors=[Returning(kind)])
    closed = closing_of(connections(registry)[0])
    call = lease.unary_stream(path("Numbers"))(b"1")
    lease.close()
    assert closed.is_set()
    assert list(call) == [b"own"]
    assert logged_by_us(caplog) == logged


class InterruptedCall(OwnCall):
    """One during whose cancellation a signal arrives."""

    def cancel(self) -> None:
        signal.raise_signal(signal.SIGALRM)


def test_signal_while_a_lease_closes(registry: ChannelRegistry, address: str) -> None:
    """What its handler raises comes out of close(), and the call counts as ended."""

    def handle(number: int, frame: object) -> None:
        raise KeyError("time is up")

    lease = registry.get(address, interceptors=[Returning(InterruptedCall)])
    call = lease.unary_stream(path("Numbers"))(b"1")
    before = signal.signal(signal.SIGALRM, handle)
    try:
        with pytest.raises(KeyError, match="time is up"):
            lease.close()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert list(call) == [b"own"]
    assert [record.streams for record in registry.snapshot()] == [0]


class Failing(grpc.UnaryStreamClientInterceptor):
    """Raises instead of starting an RPC."""

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        raise KeyError("own")


def test_an_interceptor_that_raises(registry: ChannelRegistry, address: str) -> None:
    """What grpcio makes of it comes out, and nothing is counted as alive."""
    with registry.get(address, interceptors=[Failing()]) as lease:
        call = lease.unary_stream(path("Numbers"))(b"1")
        with pytest.raises(KeyError):
            next(call)
        assert [record.streams for record in registry.snapshot()] == [0]


def test_two_registries(address: str) -> None:
    """Registries share nothing, and closing one does not touch the other."""
    with ChannelRegistry() as one, ChannelRegistry() as two:
        ours, theirs = one.get(address), two.get(address)
        assert ours._channel() is not theirs._channel()
        one.close()
        assert theirs.unary_unary(path("Unary"))(b"a") == b"a"
        assert len(two.snapshot()) == 1


def test_getting_one_channel_from_many_threads_at_once(
    registry: ChannelRegistry, address: str
) -> None:
    """While one thread makes the channel, the others wait for it and share it."""
    gate = Gate()
    pool = registry._cleanup.pool
    make, made = pool._make, []

    def parked(wanted: Any) -> Any:
        made.append(gate.park(wanted))
        return make(wanted)

    pool._make = parked
    first = in_thread(registry.get, address)
    with gate.held():
        others = [in_thread(registry.get, address) for _ in range(16)]
    leases = [party.result() for party in (first, *others)]
    assert len(made) == 1
    assert [record.leases for record in registry.snapshot()] == [17]
    for lease in leases:
        lease.close()


def test_the_default_registry() -> None:
    """There is one for the process, until it is closed."""
    registry = ChannelRegistry.default()
    assert ChannelRegistry.default() is registry
    assert type(grpc_guard.aio.ChannelRegistry.default()) is grpc_guard.aio.ChannelRegistry
    registry.close()
    assert ChannelRegistry.default() is not registry
    tasks = grpc_guard.aio.ChannelRegistry.default()
    assert grpc_guard.aio.ChannelRegistry.default() is tasks


# Stubs


def test_asking_for_a_stub_twice(registry: ChannelRegistry, address: str) -> None:
    """The same stub on the same channel, which other leases share and do not close."""
    stub = registry.stub(Stub, address)
    with registry.get(address) as lease:
        assert lease._channel() is stub.channel._channel()
    assert registry.stub(Stub, address) is stub
    assert stub.unary(b"a") == b"a"
    assert registry.stub(Stub, address, options=[("grpc.x", 1)]) is not stub


class OtherStub(Stub):
    """A stub of another service."""


def test_stubs_of_two_services(registry: ChannelRegistry, address: str) -> None:
    """Stubs of different classes are different, and share one channel."""
    one, other = registry.stub(Stub, address), registry.stub(OtherStub, address)
    assert type(one) is Stub
    assert type(other) is OtherStub
    assert len(registry.snapshot()) == 1
    assert one.channel._channel() is other.channel._channel()


def test_using_a_stub_after_its_registry_was_closed(
    registry: ChannelRegistry, address: str, found: Found
) -> None:
    """The registry's stubs end with it."""
    stub = registry.stub(Stub, address)
    registry.close()
    with pytest.raises(ValueError, match=r"Cannot invoke RPC on closed channel! the lease of"):
        stub.unary(b"a")
    assert [finding.rule for finding in found()] == ["closed-channel"]
    with pytest.raises(RuntimeError, match="registry is closed"):
        registry.stub(Stub, address)


def test_closing_a_registry_while_a_stub_is_made(registry: ChannelRegistry, address: str) -> None:
    """A second call for the stub raises the error."""

    def closing(channel: Any) -> Stub:
        registry.close()
        return Stub(channel)

    assert type(registry.stub(closing, address)) is Stub
    with pytest.raises(RuntimeError, match="registry is closed"):
        registry.stub(closing, address)


def test_closing_the_channel_of_a_shared_stub(registry: ChannelRegistry, address: str) -> None:
    """A second call returns a new stub that works, the same for all."""
    stub = registry.stub(Stub, address)
    stub.channel.close()
    again = registry.stub(Stub, address)
    assert again is not stub
    assert again.unary(b"a") == b"a"
    assert registry.stub(Stub, address) is again


def test_asking_for_one_stub_from_two_threads_at_once(
    registry: ChannelRegistry, address: str
) -> None:
    """All get the one that is ready first."""
    gate, made = Gate(), list[Stub]()

    def make(channel: Any) -> Stub:
        made.append(Stub(channel))
        return gate.park(made[0]) if len(made) == 1 else made[-1]

    slow = in_thread(registry.stub, make, address)
    with gate.held():
        stub = registry.stub(make, address)
    assert slow.result() is stub
    assert stub is made[1]


def test_dropping_a_registry(address: str) -> None:
    """Its stubs go with it, their channels are closed, and nothing is reported."""
    registry = ChannelRegistry()
    registry.stub(Stub, address)
    cleanup, closed = registry._cleanup, closing_of(connections(registry)[0])
    del registry
    gc.collect()
    wait(closed)
    until(lambda: cleanup.thread is None)


# The end of a lease


def test_closing_one_of_two_leases(registry: ChannelRegistry, address: str) -> None:
    """The other goes on; the channel closes with the last, at once."""
    one, two = registry.get(address), registry.get(address)
    closed = closing_of(connections(registry)[0])
    one.close()
    one.close()  # no news
    assert not closed.is_set()
    assert two.unary_unary(path("Unary"))(b"a") == b"a"
    two.close()
    assert closed.is_set()
    assert registry.snapshot() == ()


def test_starting_an_rpc_on_a_closed_lease(
    registry: ChannelRegistry, address: str, found: Found
) -> None:
    """grpcio's own error says where the lease was taken and where it was closed."""
    lease = registry.get(address)
    stub = Stub(lease)
    lease.close()
    for start in (stub.unary, stub.unary.future, stub.hold):
        with pytest.raises(ValueError, match="Cannot invoke RPC") as raised:
            start(b"a")
    message = str(raised.value)
    here = __file__
    told = (
        f"the lease of {address!r} was taken at {here}:{_line('registry.get(address)')} by thread "
        f"'MainThread' and closed at {here}:{_line('lease.close()')} by thread 'MainThread'"
    )
    assert message == f"Cannot invoke RPC on closed channel! {told}"
    findings = found()
    assert [finding.rpc for finding in findings] == [path("Unary"), path("Hold")]
    finding = findings[1]
    assert (finding.rule, finding.severity, finding.api) == ("closed-channel", "warning", "sync")
    assert finding.message == (
        f"closed-channel: start by thread 'MainThread' on {path('Hold')} (client, sync): {told}"
    )
    assert finding.caller.site is not None
    assert finding.caller.site.code == 'start(b"a")'
    assert finding.owner is not None
    assert finding.owner.operation == "close"


def _line(code: str) -> int:
    """Return the number of the line of test_starting_an_rpc_on_a_closed_lease with `code`."""
    first = test_starting_an_rpc_on_a_closed_lease.__code__.co_firstlineno
    with open(__file__, encoding="utf-8") as lines:
        numbered = list(enumerate(lines, 1))[first:]
    return next(number for number, line in numbered if code in line)


def test_making_a_stub_on_a_closed_lease(
    registry: ChannelRegistry, address: str, found: Found
) -> None:
    """As with grpcio, only its RPCs fail; watching the channel fails too."""
    lease = registry.get(address)
    lease.close()
    with pytest.raises(ValueError, match="Cannot invoke RPC on closed channel"):
        Stub(lease).count(iter([]))
    with pytest.raises(ValueError, match="Channel closed! the lease of"):
        lease.subscribe(print)
    assert [finding.rule for finding in found()] == ["closed-channel"]


def test_closing_a_lease_during_its_streams(registry: ChannelRegistry) -> None:
    """What was started through it is cancelled, and what others started goes on."""
    with serving() as (address, service), registry.get(address) as other:
        lease = registry.get(address)
        gate = Gate()
        echo = other.stream_stream(path("Echo"), request_serializer=gate.park_at(b"x"))
        theirs = echo(iter([b"x"]))
        ours, future = Stub(lease).hold(b""), Stub(lease).unary.future(b"a")
        assert next(ours) == b"0"
        assert future.result(PATIENCE) == b"a"
        lease.close()
        wait(service.cancelled)
        with pytest.raises(grpc.RpcError):
            next(ours)
        assert ours.code() is grpc.StatusCode.CANCELLED
        gate.open()
        assert list(theirs) == [b"x"]


def test_closing_a_lease_while_a_stream_starts(registry: ChannelRegistry, address: str) -> None:
    """The stream is cancelled as those that lived before, though another lease has the channel."""
    gate = Gate()
    with registry.get(address):
        lease = registry.get(address)
        pool = registry._cleanup.pool
        begin = pool.begin
        pool.begin = lambda *args: gate.park(begin(*args))  # type: ignore[method-assign]
        starting = in_thread(Stub(lease).hold, b"")
        with gate.held():
            lease.close()
        call = starting.result()
        assert in_thread(call.code).result() is grpc.StatusCode.CANCELLED
        settled(lease)


def test_closing_a_lease_during_a_blocking_rpc(registry: ChannelRegistry, address: str) -> None:
    """The RPC ends as it would, if the channel stays open for another lease."""
    gate = Gate()
    with registry.get(address):
        lease = registry.get(address)
        unary = lease.unary_unary(path("Unary"), response_deserializer=gate.park_at(b"a"))
        running = in_thread(unary, b"a")
        with gate.held():
            lease.close()
        assert running.result() == b"a"


def test_closing_a_lease_in_a_block_that_raises(registry: ChannelRegistry, address: str) -> None:
    """The exception comes out, and the lease is closed."""
    with pytest.raises(KeyError), registry.get(address):
        raise KeyError
    assert registry.snapshot() == ()


def test_dropping_a_lease(registry: ChannelRegistry, address: str, reported: Reported) -> None:
    """It is released, and recorded with the line where it was taken."""
    with registry.get(address) as other:
        registry.get(address)
        finding = reported.get(timeout=PATIENCE)
        assert other.unary_unary(path("Unary"))(b"a") == b"a"
        assert [record.leases for record in registry.snapshot()] == [1]
    assert finding.rule == "unclosed-channel"
    assert finding.caller.site is not None
    assert finding.caller.site.code == "registry.get(address)"
    assert "was dropped without close()" in finding.message
    grpc_guard.clear_findings()


def test_dropping_the_last_lease(
    registry: ChannelRegistry, address: str, reported: Reported
) -> None:
    """The channel closes, and the registry's thread leaves."""
    lease = registry.get(address)
    closed = closing_of(connections(registry)[0])
    del lease
    wait(closed)
    at_rest(registry)
    assert reported.get(timeout=PATIENCE).rule == "unclosed-channel"
    grpc_guard.clear_findings()


def test_dropping_a_lease_whose_stream_is_open(
    registry: ChannelRegistry, reported: Reported
) -> None:
    """The stream goes on, as with a channel of grpcio; the channel closes when it has ended."""
    with serving() as (address, _):
        gate = Gate()
        requests = iter([b"1", b"2"])
        echo = registry.get(address).stream_stream(
            path("Echo"), request_serializer=gate.park_at(b"2")
        )
        closed = closing_of(connections(registry)[0])
        call = echo(requests)
        assert next(call) == b"1"
        del echo
        assert reported.get(timeout=PATIENCE).rule == "unclosed-channel"
        with gate.held():
            assert not closed.is_set()
        assert list(call) == [b"2"]
        wait(closed)
    grpc_guard.clear_findings()


def test_holding_only_a_stub(registry: ChannelRegistry, address: str) -> None:
    """A stub keeps its lease alive."""
    stub = Stub(registry.get(address))
    lease = weakref.ref(stub.channel)
    del stub.channel
    gc.collect()
    assert stub.unary(b"a") == b"a"
    held = lease()
    assert held is not None
    held.close()


def test_dropping_a_sync_call(registry: ChannelRegistry) -> None:
    """It is cancelled at once, as with grpcio, and no longer counted."""
    with serving() as (address, service), registry.get(address) as lease:
        call = Stub(lease).hold(b"")
        assert next(call) == b"0"
        assert [record.streams for record in registry.snapshot()] == [1]
        gc.disable()
        try:
            del call
            wait(service.cancelled)
        finally:
            gc.enable()
        settled(lease)
        assert [record.streams for record in registry.snapshot()] == [0]


def test_dropping_a_call_without_a_thread_of_its_own(registry: ChannelRegistry) -> None:
    """A single-threaded call does not report its end: its collection does."""
    options = [(grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)]
    with serving() as (address, _), registry.get(address, options=options) as lease:
        call = lease.unary_stream(path("Numbers"))(b"9")
        assert next(call) == b"0"
        assert [record.streams for record in registry.snapshot()] == [1]
        del call
        settled(lease)
        assert [record.streams for record in registry.snapshot()] == [0]


# Idle channels


def test_a_channel_that_becomes_idle(address: str) -> None:
    """It is kept for `idle_seconds` after its last lease, and then closed."""
    with ChannelRegistry(idle_seconds=0.05) as registry:
        lease = registry.get(address)
        closed = closing_of(connections(registry)[0])
        lease.close()
        wait(closed)
        at_rest(registry)
        assert registry.snapshot() == ()


def test_getting_an_idle_channel_again(address: str) -> None:
    """It is the same one, and idle no longer."""
    with ChannelRegistry(idle_seconds=1000) as registry:
        with registry.get(address) as lease:
            channel = lease._channel()
        (record,) = registry.snapshot()
        assert record.leases == 0
        with registry.get(address) as lease:
            assert lease._channel() is channel
            assert not registry._cleanup.pool._idle


def test_the_longest_times(address: str) -> None:
    """Longer than a thread can wait is as long as it can."""
    with ChannelRegistry(idle_seconds=sys.maxsize) as registry:
        registry.get(address).close()
        lease = registry.get(address)
        call = Stub(lease).echo(iter([b"x"]))
        closing = in_thread(registry.close, sys.maxsize)
        assert list(call) == [b"x"]
        closing.result()
    at_rest(registry)


# Watching a channel


def test_subscribing_on_a_lease(registry: ChannelRegistry, address: str) -> None:
    """A subscriber gets the shared channel's states until the lease ends."""
    with registry.get(address) as other:
        states: queue.SimpleQueue[Any] = queue.SimpleQueue()
        before = set(threading.enumerate())
        with registry.get(address) as lease:
            grpc.channel_ready_future(lease).result(PATIENCE)
            lease.subscribe(states.put, try_to_connect=True)
            assert isinstance(states.get(timeout=PATIENCE), grpc.ChannelConnectivity)
        lease.unsubscribe(states.put)  # no news
        watched = other._channel()._connectivity_state.callbacks_and_connectivities
        assert watched == []
        watchers_leave(before)


def watchers_leave(before: set[threading.Thread]) -> None:
    """Wait for grpcio's threads that watch a channel: they must not meet it closed."""
    for thread in set(threading.enumerate()) - before:
        if "(_run)" in thread.name:
            thread.join(PATIENCE)


def test_closing_a_lease_while_somebody_subscribes_on_it(
    registry: ChannelRegistry, address: str
) -> None:
    """No subscription to the channel stays, though another lease keeps it open."""
    with registry.get(address) as other:
        before = set(threading.enumerate())
        lease, channel = registry.get(address), other._channel()
        subscribe, states = channel.subscribe, queue.SimpleQueue[Any]()

        def closing(*arguments: Any) -> None:
            lease.close()
            subscribe(*arguments)

        channel.subscribe = closing
        lease.subscribe(states.put)
        assert channel._connectivity_state.callbacks_and_connectivities == []
        watchers_leave(before)


# Closing the registry


def test_closing_a_registry_during_streams(registry: ChannelRegistry) -> None:
    """Without a grace period they are cancelled, and every lease has ended."""
    with serving() as (address, service):
        lease = registry.get(address)
        call = Stub(lease).hold(b"")
        assert next(call) == b"0"
        registry.close()
        wait(service.cancelled)
        with pytest.raises(grpc.RpcError):
            next(call)
        assert registry.snapshot() == ()
        registry.close()  # no news
        with pytest.raises(RuntimeError) as raised:
            registry.get(address)
        assert str(raised.value).startswith(f"registry is closed: close() was called at {__file__}")


def test_closing_a_registry_with_a_grace_period(registry: ChannelRegistry, found: Found) -> None:
    """What lives goes on to its end; nothing new starts meanwhile."""
    with serving() as (address, _):
        gate = Gate()
        lease = registry.get(address)
        echo = lease.stream_stream(path("Echo"), request_serializer=gate.park_at(b"2"))
        call = echo(iter([b"1", b"2"]))
        assert next(call) == b"1"
        gate.wait()
        shut = Gate()
        pool = registry._cleanup.pool
        shutting = pool.shut
        pool.shut = lambda ending: shut.park(shutting(ending))  # type: ignore[method-assign]
        closing = in_thread(registry.close, PATIENCE)
        with shut.held():
            with pytest.raises(ValueError, match="Cannot invoke RPC"):
                echo(iter([]))
            with pytest.raises(RuntimeError):
                registry.get(address)
        gate.open()
        assert list(call) == [b"2"]
        closing.result()
    assert [finding.rule for finding in found()] == ["closed-channel"]


def test_closing_a_registry_when_the_grace_period_is_over(registry: ChannelRegistry) -> None:
    """What lives still is cancelled."""
    with serving() as (address, service):
        lease = registry.get(address)
        call = Stub(lease).hold(b"")
        assert next(call) == b"0"
        registry.close(grace=0.01)
        wait(service.cancelled)
        with pytest.raises(grpc.RpcError):
            next(call)


def test_interrupting_the_grace_period_of_a_registry(
    registry: ChannelRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left open: there is no second try."""

    def interrupt(leases: Any, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sync, "_await_rpcs", interrupt)
    with serving() as (address, service):
        lease = registry.get(address)
        call = Stub(lease).hold(b"")
        assert next(call) == b"0"
        closed = closing_of(connections(registry)[0])
        with pytest.raises(KeyboardInterrupt):
            registry.close(PATIENCE)
        assert closed.is_set()
        wait(service.cancelled)
        with pytest.raises(grpc.RpcError):
            next(call)


def test_closing_a_registry_while_a_channel_is_made(
    registry: ChannelRegistry, address: str
) -> None:
    """A thread that waits for that channel gets the error, and no channel stays."""
    gate = Gate()
    pool = registry._cleanup.pool
    make = pool._make
    pool._make = lambda wanted: gate.park(make(wanted))
    getting = in_thread(registry.get, address)
    with gate.held():
        registry.close()
    assert isinstance(getting.exception(), RuntimeError)
    assert registry.snapshot() == ()


def test_a_snapshot(registry: ChannelRegistry) -> None:
    """It tells of each channel what it is, and nothing of what it was made with or carries."""
    secret = "s3cret"
    options = [("grpc.primary_user_agent", secret)]
    with serving() as (address, _), registry.get(address, options=options) as lease:
        in_thread(lease.unary_unary(path("Unary")), secret.encode(), name="worker-7").result()
        call = Stub(lease).hold(b"")
        assert next(call) == b"0"
        (record,) = registry.snapshot()
        assert record.target == address
        assert record.connectivity is grpc.ChannelConnectivity.READY
        assert 0 <= record.age < PATIENCE
        assert record.born_at.startswith(f"at {__file__}:")
        assert (record.leases, record.streams, record.rpcs_in_progress, record.rpcs) == (1, 1, 1, 2)
        assert record.used_by == ("worker-7", "MainThread")
        assert secret not in repr(record)
        assert secret not in repr(lease._record.entry.settings)
        with pytest.raises(AttributeError):
            record.rpcs = 0  # type: ignore[misc]


def test_a_snapshot_of_many_callers(registry: ChannelRegistry, address: str) -> None:
    """Only the last 32 different names are kept."""
    with registry.get(address) as lease:
        unary = lease.unary_unary(path("Unary"))
        for number in range(40):
            in_thread(unary, b"", name=f"caller-{number}").result()
        (record,) = registry.snapshot()
        assert record.used_by == tuple(f"caller-{number}" for number in range(8, 40))


def test_the_state_of_a_channel_that_tells_none(registry: ChannelRegistry, address: str) -> None:
    """A channel that is closed meanwhile is shut down; one without the private names, unknown."""
    with registry.get(address):
        connection = connections(registry)[0]
        channel = connection.channel
        channel.close()
        assert registry.snapshot()[0].connectivity is grpc.ChannelConnectivity.SHUTDOWN
        connection.channel = object()
        assert registry.snapshot()[0].connectivity is None
        connection.channel = channel


# The guard


def test_reading_a_stream_of_a_lease_twice(registry: ChannelRegistry, found: Found) -> None:
    """Streams of leases are guarded."""
    with serving() as (address, _), registry.get(address) as lease:
        gate = Gate()
        call = lease.unary_stream(path("Numbers"), response_deserializer=gate.park_at(b"0"))(b"1")
        reader = in_thread(next, call)
        with gate.held(), pytest.raises(grpc_guard.ConcurrencyError):
            next(call)
        assert reader.result() == b"0"
    assert [finding.rule for finding in found()] == ["concurrent-read"]


def test_a_registry_without_the_guard(address: str) -> None:
    """In mode off calls are grpcio's own, and counted all the same."""
    with ChannelRegistry(mode="off") as registry, registry.get(address) as lease:
        stub = Stub(lease)
        call = stub.numbers(b"1")
        assert type(call).__module__ == "grpc._channel"
        assert list(call) == [b"0"]
        assert stub.count(iter([b"a"])) == b"1"
        settled(lease)
        assert [(record.streams, record.rpcs) for record in registry.snapshot()] == [(0, 2)]


def test_wrapping_a_lease(registry: ChannelRegistry, address: str) -> None:
    """A lease is guarded already: wrap() returns it as it is."""
    with registry.get(address) as lease:
        assert grpc_guard.wrap(lease) is lease
        assert grpc_guard.wrap(lease, mode="warn") is lease


# Errors


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (None, TypeError, "the target must be a str such as 'localhost:50051', not None"),
        (b"a:1", TypeError, "the target must be a str such as 'localhost:50051', not b'a:1'"),
        (" ", ValueError, "the target is empty: ' '; name one, such as 'localhost:50051'"),
    ],
)
def test_a_bad_target(
    registry: ChannelRegistry, target: Any, error: type[Exception], message: str
) -> None:
    """The error names the value, and what to write."""
    with pytest.raises(error) as raised:
        registry.get(target)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"credentials": "hunter2"},
            (
                "credentials must come from grpc.ssl_channel_credentials() or the like, or be None, "
                "not of type str"
            ),
        ),
        ({"options": ["x"]}, "options must be pairs, each of a name and a value"),
        ({"options": 1}, "options must be pairs, each of a name and a value"),
        ({"options": [(["hunter2"], 1)]}, "the name of an option must be a str, not of type list"),
        (
            {"compression": "gzip"},
            "compression must be a grpc.Compression or None, not of type str",
        ),
        (
            {"interceptors": CountingInterceptor()},
            "interceptors must be a sequence of them, not of type CountingInterceptor",
        ),
        (
            {"options": [("grpc.x", ["hunter2"])]},
            (
                "the value of option 'grpc.x' is a list, which cannot be compared: options of a "
                "shared channel are str, bytes or int"
            ),
        ),
    ],
)
def test_bad_arguments(registry: ChannelRegistry, arguments: Any, message: str) -> None:
    """The error says what is wrong, and shows no value that may be secret."""
    with pytest.raises(TypeError) as raised:
        registry.get("a", **arguments)
    assert str(raised.value) == message
    assert registry.snapshot() == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"max_streams": 0},
            (
                "ChannelRegistry(max_streams): 0 is not a number of streams; use 1 or more, or None for "
                "no limit"
            ),
        ),
        (
            {"idle_seconds": -1},
            "ChannelRegistry(idle_seconds): -1 is not a time in seconds; use 0 or more, or None",
        ),
        (
            {"mode": "on"},
            "ChannelRegistry(mode): 'on' is not a mode; use off, raise, warn or serialize",
        ),
    ],
)
def test_bad_settings(settings: Any, message: str) -> None:
    """The error names the setting, the value and the choices."""
    with pytest.raises(ValueError, match="ChannelRegistry") as raised:
        ChannelRegistry(**settings)
    assert str(raised.value) == message


def test_a_bad_grace_period(registry: ChannelRegistry) -> None:
    """The error names it, and the registry stays open."""
    with pytest.raises(ValueError, match=r"close\(grace\): 'x' is not a time in seconds"):
        registry.close("x")  # type: ignore[arg-type]
    assert not registry._is_closed()


def test_wrong_arguments_for_a_multi_callable(registry: ChannelRegistry, address: str) -> None:
    """They fail where they always did: when it is made."""
    with registry.get(address) as lease, pytest.raises(TypeError):
        lease.unary_unary(path("Unary"), nonsense=1)


def test_an_rpc_that_cannot_start(registry: ChannelRegistry, address: str) -> None:
    """The error is grpcio's, and nothing is counted as alive."""
    with registry.get(address) as lease:
        with pytest.raises(TypeError):
            lease.unary_stream(path("Numbers"))(b"1", nonsense=1)
        with pytest.raises(TypeError):
            lease.unary_unary(path("Unary"))(b"1", nonsense=1)
        (record,) = registry.snapshot()
        assert (record.rpcs_in_progress, record.streams) == (0, 0)


def test_the_repr_of_a_lease(registry: ChannelRegistry, address: str) -> None:
    """It names the target and the place."""
    with registry.get(address) as lease:
        assert repr(lease).startswith(f"<lease of {address!r}, taken at {__file__}:")


def test_a_server_that_restarts_while_a_lease_lives(registry: ChannelRegistry) -> None:
    """The lease goes on with the new server, on the same channel."""
    with ExitStack() as keeping:
        with serving() as (address, _):
            keeping.enter_context(kept(address))
            lease = registry.get(address)
            channel = lease._channel()
            assert lease.unary_unary(path("Unary"))(b"a") == b"a"
        # An RPC on the old connection would fail, ready or not.
        until(lambda: registry.snapshot()[0].connectivity is not grpc.ChannelConnectivity.READY)
        server = grpc.server(ThreadPoolExecutor(2))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test.Guard", Service().methods()),)
        )
        assert server.add_insecure_port(address) == int(address.rpartition(":")[2])
    server.start()
    try:
        unary = lease.unary_unary(path("Unary"))
        assert unary(b"b", wait_for_ready=True, timeout=PATIENCE) == b"b"
        assert lease._channel() is channel
    finally:
        wait(server.stop(None))
        lease.close()
