"""No exception, wherever it arrives in the registry, leaves a lease, an RPC or a channel behind."""

from __future__ import annotations

import gc
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from inside import registry_aio, registry_sync
from support.interrupts import Interrupt, sweep
from support.staging import settle

from grpc_guard import ChannelRegistry, aio

# What arrives in a finaliser CPython swallows, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Call:
    """A call of a stand-in for grpcio: over when it is told, cancelled or dropped."""

    def __init__(self) -> None:
        self._state = types.SimpleNamespace(code=None)
        self._callbacks: list[Callable[..., object]] = []
        self._is_over = False

    def add_callback(self, callback: Callable[..., object]) -> bool:
        self._callbacks.append(callback)
        return not self._is_over

    add_done_callback = add_callback

    def is_active(self) -> bool:
        return not self._is_over

    def done(self) -> bool:
        return self._is_over

    def cancelled(self) -> bool:
        return self._is_over

    async def read(self) -> bytes:
        return b""

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> bytes:
        self.cancel()
        raise StopIteration

    def cancel(self) -> bool:
        self._is_over = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        return True


class Method:
    """A multi-callable of it."""

    _channel = None

    def __init__(self, method: str, is_blocking: bool) -> None:
        self._method = method
        self._is_blocking = is_blocking

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return b"" if self._is_blocking else Call()


OPEN: dict[int, weakref.ref[Any]] = {}


class _Channel:
    def __init__(self) -> None:
        OPEN[id(self)] = weakref.ref(self)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(method, is_blocking=False)

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return Method(method, is_blocking=True)


class SyncChannel(_Channel):
    def close(self) -> None:
        OPEN.pop(id(self), None)


class AioChannel(_Channel):
    async def close(self, grace: float | None = None) -> None:
        OPEN.pop(id(self), None)


def _codes() -> frozenset[types.CodeType]:
    """Return all code of the registry; not of finalisers, in which CPython swallows exceptions."""

    def nested(code: types.CodeType) -> Iterator[types.CodeType]:
        yield code
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from nested(constant)

    return frozenset(
        code
        for name, module in tuple(sys.modules.items())
        if name.startswith("grpc_guard._registry.")
        for holder in [module, *(kind for kind in vars(module).values() if type(kind) is type)]
        for function in vars(holder).values()
        if isinstance(function, types.FunctionType)
        and function.__module__.startswith("grpc_guard._registry.")
        for code in nested(function.__code__)
    )


def assert_nothing_left(pool: Any) -> None:
    """Let the cleanup do its work once; after that nothing is in use."""
    leases, connections, _ = pool.clean_up()
    if pool._rpcs or pool._entries:
        gc.collect()  # an exception was in a cycle with its frames
        leases, connections, _ = pool.clean_up()
    for lease in leases:
        lease.cancel_rpcs()
    for connection in connections:
        connection.is_closed = True
        OPEN.pop(id(connection.channel), None)
        pool.closed_one(connection)
    assert not pool._rpcs
    assert not pool.notes
    for entry in pool._entries.values():
        assert not entry.leases
        assert [(each.live, each.streams) for each in entry.connections] == [
            (0, 0) for _ in entry.connections
        ]
    assert not pool._entries
    assert not pool._unclosed
    assert not pool._idle
    if any(each() is not None for each in OPEN.values()):
        gc.collect()  # it was made, and nothing got it: grpcio closes it
    assert [each for each in OPEN.values() if each() is not None] == []
    OPEN.clear()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> ChannelRegistry:
    """Return a registry of stand-ins whose cleanup works only when the test says so."""
    monkeypatch.setattr(registry_sync, "_make", lambda wanted: SyncChannel())
    made = ChannelRegistry(max_streams=1)
    made._cleanup.pool._on_entry = lambda: None
    OPEN.clear()
    return made


def close_again(leases: list[Any]) -> None:
    """Do what a program does after an interrupt: let go of its calls, and close its leases."""
    for lease in leases:
        lease.close()
    leases.clear()


def use(registry: Any, leases: list[Any], calls: list[Any]) -> None:
    leases.append(registry.get("target"))
    lease = leases[0]
    stream = lease.unary_stream("/s/m")
    for _ in range(2):
        calls.append(stream(b""))
    lease.unary_unary("/s/u")(b"")
    for _ in calls.pop():
        pass
    lease.close()


def test_interrupt_of_the_use_of_a_lease(registry: ChannelRegistry, found: Any) -> None:
    """Interrupted anywhere between get() and the end of close(), a lease is gone afterwards."""
    pool = registry._cleanup.pool
    for injection in sweep(_codes(), step=5):
        leases: list[Any] = []
        calls: list[Any] = []
        error = injection.run(lambda: use(registry, leases, calls))
        assert error is None or type(error) is Interrupt
        del error
        calls.clear()
        close_again(leases)
        assert_nothing_left(pool)
    assert found() == []


def test_interrupt_of_close_that_nobody_repeats(registry: ChannelRegistry, found: Any) -> None:
    """A lease whose close() was interrupted, and that is dropped then, is gone, and no leak."""
    pool = registry._cleanup.pool
    for injection in sweep(_codes(), step=5):
        leases = [registry.get("target")]
        call = leases[0].unary_stream("/s/m")(b"")
        error = injection.run(leases[0].close)
        assert error is None or type(error) is Interrupt
        del error, leases[:]
        pool.clean_up()
        if call.is_active():
            call.cancel()
        del call
        assert_nothing_left(pool)
    found()


def test_interrupt_of_closing_the_registry(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """A second close() of a registry finishes what the first has begun."""
    monkeypatch.setattr(registry_sync, "_make", lambda wanted: SyncChannel())
    for injection in sweep(_codes(), step=5):
        OPEN.clear()
        registry = ChannelRegistry(max_streams=1)
        registry._cleanup.pool._on_entry = lambda: None
        lease, other = registry.get("target"), registry.get("other")
        calls = [lease.unary_stream("/s/m")(b"") for _ in range(2)]
        error = injection.run(registry.close)
        assert error is None or type(error) is Interrupt
        del error
        registry.close()
        assert not any(call.is_active() for call in calls)
        with pytest.raises(ValueError, match="closed channel"):
            other.unary_stream("/s/m")(b"")
        calls.clear()
        assert_nothing_left(registry._cleanup.pool)
    found()


async def test_interrupt_of_the_use_of_an_aio_lease(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """Interrupted anywhere, the use of an aio lease leaves nothing either."""
    monkeypatch.setattr(registry_aio, "_make", lambda wanted: AioChannel())
    OPEN.clear()

    async def used(registry: Any, leases: list[Any], calls: list[Any]) -> None:
        leases.append(registry.get("target"))
        stream = leases[0].unary_stream("/s/m")
        calls += [stream(b""), stream(b"")]
        calls.pop().cancel()
        await leases[0].close()

    for injection in sweep(_codes(), step=5):
        registry = aio.ChannelRegistry(max_streams=1)
        leases: list[Any] = []
        calls: list[Any] = []
        using = used(registry, leases, calls)  # it does not suspend: asyncio is not interrupted
        error = injection.run(lambda: using.send(None))
        assert type(error) in (Interrupt, StopIteration)
        using.close()
        del error
        calls.clear()
        for lease in leases:
            await lease.close()
        leases.clear()
        for loop_pool in registry._loop_pools.values():
            assert_nothing_left(loop_pool.pool)
    await settle()
    found()


# Where the cleanup's thread begins


def test_finaliser_that_asks_for_a_lease_while_the_cleanup_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread starts while nothing is locked: what the collector runs in it gets its lease."""
    registry = ChannelRegistry()
    got: list[str] = []

    def begin() -> None:
        with registry.get("localhost:2") as lease:  # before it says that it has started
            got.append(repr(lease))

    class Thread(threading.Thread):
        def _bootstrap_inner(self) -> None:
            begin()
            super()._bootstrap_inner()

    monkeypatch.setattr(threading, "Thread", Thread)
    registry.get("localhost:1").close()
    monkeypatch.undo()
    assert len(got) == 1
    registry.close()


def test_interrupt_of_the_start_of_the_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted while it starts, the thread is there afterwards, or is started by the next."""
    registry = ChannelRegistry()
    cleanup = registry._cleanup

    def interrupt(self: Any) -> None:
        monkeypatch.undo()
        raise Interrupt

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(Interrupt):
        registry.get("localhost:1")
    assert cleanup.thread is None
    registry.get("localhost:1").close()
    assert cleanup.thread is not None
    thread = cleanup.thread
    registry.close()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("is_another", [False, True])
def test_thread_of_the_cleanup_that_nobody_knows(is_another: bool) -> None:
    """A thread that came to life after its start was interrupted serves, unless another does."""
    registry = ChannelRegistry()
    cleanup = registry._cleanup
    if is_another:
        cleanup.thread = threading.Thread()
    else:
        cleanup.wake()
    cleanup._work()
    assert (cleanup.thread is None) is not is_another
    cleanup.thread = None
    registry.close()


def test_channel_that_cannot_be_closed(
    registry: ChannelRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A channel whose close() fails is tried once more by the cleanup, and not for ever."""
    lease = registry.get("target")
    channel: Any = lease._channel()

    def fail() -> None:
        raise OSError("no")

    channel.close = fail
    with pytest.raises(OSError, match="no"):
        lease.close()
    assert registry._cleanup.pool._unclosed
    registry._cleanup._clean_up()
    assert not registry._cleanup.pool._unclosed


# What a step that was interrupted may leave, and the next look makes good


def test_idle_channel_that_somebody_uses(registry: ChannelRegistry) -> None:
    """What is taken for idle and is in use stays open."""
    pool: Any = registry._cleanup.pool
    lease = registry.get("target")
    (entry,) = pool._entries.values()
    calls = [lease.unary_stream("/s/m")(b"") for _ in range(2)]
    pool._idle = {entry: 0.0, entry.connections[1]: 0.0}
    assert pool.clean_up() == ([], [], None)
    assert len(entry.connections) == 2
    for call in calls:
        call.cancel()
    lease.close()


def test_lease_of_a_channel_that_is_gone(registry: ChannelRegistry) -> None:
    """It is left without retiring what is no longer there."""
    pool: Any = registry._cleanup.pool
    lease = registry.get("target")
    (entry,) = pool._entries.values()
    entry.connections.clear()
    assert pool.leave(lease._record, later=True) == []
    assert not pool._idle
    pool._entries.clear()


def test_channel_that_is_yet_to_be_closed_stays_known(registry: ChannelRegistry) -> None:
    """What came too late for a registry's close() is closed by the cleanup."""
    pool: Any = registry._cleanup.pool
    lease = registry.get("target")
    lease._record.is_given = True
    (entry,) = pool._entries.values()
    pool.empty([lease._record])
    assert list(pool._unclosed) == pool.clean_up()[1]
    pool._unclosed.clear()
    assert entry.connections == []


def test_note_that_woke_nobody(registry: ChannelRegistry) -> None:
    """The next RPC works it off."""
    pool: Any = registry._cleanup.pool
    lease = registry.get("target")
    begun = lease._begin("/s/m", True)
    rpc = begun.rpc
    del begun
    assert rpc in pool._rpcs
    assert lease.unary_unary("/s/u")(b"") == b""
    assert rpc not in pool._rpcs
    lease.close()
    assert_nothing_left(pool)


def test_rpc_that_outlives_its_channel(registry: ChannelRegistry) -> None:
    """The cleanup is woken when it ends: nothing is left then."""
    pool: Any = registry._cleanup.pool
    lease = registry.get("target")
    begun = lease._begin("/s/m", True)
    lease.close()
    assert not pool.is_empty
    begun.rpc.end()
    assert pool.is_empty


def test_lease_whose_close_was_interrupted_and_that_is_dropped(
    registry: ChannelRegistry, found: Any
) -> None:
    """The cleanup cancels what was started through it, and it is no leak."""
    cleanup: Any = registry._cleanup
    lease: Any = registry.get("target")
    call = lease.unary_stream("/s/m")(b"")
    cleanup.pool.close(lease._record, lease._record.origin)  # and no further
    del lease
    assert call.is_active()
    cleanup._clean_up()
    assert not call.is_active()
    assert found() == []
    assert_nothing_left(cleanup.pool)


async def test_aio_lease_whose_close_was_interrupted_and_that_is_dropped(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """The cleanup cancels what was started through it, and it is no leak."""
    monkeypatch.setattr(registry_aio, "_make", lambda wanted: AioChannel())
    registry = aio.ChannelRegistry()
    lease: Any = registry.get("target")
    call = lease.unary_stream("/s/m")(b"")
    (loop_pool,) = registry._loop_pools.values()
    loop_pool.pool.close(lease._record, lease._record.origin)  # and no further
    del lease
    await settle()
    assert call.done()
    await registry.close()
    assert found() == []
