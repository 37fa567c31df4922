"""What a server interceptor gives a handler in place of gRPC's own may be made for many callers."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from inside import core_fields
from support.around import (
    RPC,
    AioAround,
    Around,
    ContextThatHandsOn,
    HandsOn,
    giving,
    methods,
    refused_beside_another,
    served_side_by_side,
    two_writes,
    write_refused_beside_yield,
)
from support.staging import (
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    outcomes,
    settle,
    sync_channel,
    sync_server,
    wait,
    within,
)

from grpc_guard import ConcurrencyError, Finding

Found = Callable[[], list[Finding]]
MODES = ["raise", "warn", "serialize"]


# Sync: requests that threads share


class OwnLock(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._lock = threading.Lock()

    def __next__(self) -> Any:
        self.arrive()
        with self._lock:
            return next(self.requests)


class LockOfClass(HandsOn):
    lock = threading.RLock()

    def __next__(self) -> Any:
        self.arrive()
        with self.lock:
            return next(self.requests)


class LockOfModule(HandsOn):
    def __next__(self) -> Any:
        self.arrive()
        with _lock:
            return next(self.requests)


_lock = threading.Lock()


def lock_of_closure(requests: Any) -> Any:
    lock = threading.Condition()

    class Locked(HandsOn):
        def __next__(self) -> Any:
            self.arrive()
            with lock:
                return next(self.requests)

    return Locked(requests)


def lock_further_in(requests: Any) -> Any:
    return HandsOn(OwnLock(requests))


class LocksInCollection(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._locks = defaultdict(threading.Lock)

    def __next__(self) -> Any:
        self.arrive()
        with self._locks[""]:
            return next(self.requests)


def shorter_way(requests: Any) -> Any:
    """Return what has another way to gRPC's object, past the lock, and does not use it."""
    given = HandsOn(OwnLock(requests))
    given.plain = requests  # type: ignore[attr-defined]
    return given


@pytest.mark.parametrize(
    "make",
    [
        *(OwnLock, LockOfClass, LockOfModule, LocksInCollection),
        *(lock_of_closure, lock_further_in, shorter_way),
    ],
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_counted", [False, True])
def test_requests_with_a_lock(
    is_counted: bool, mode: str, make: Any, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a thread waits for gRPC's next message, another waits for the lock: both are served."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    served_side_by_side(make, mode)
    assert found() == []


def test_requests_that_are_handed_on(found: Found) -> None:
    """What has no lock on the way to gRPC keeps nobody apart: the second thread is refused."""
    refused_beside_another(HandsOn, HandsOn)
    assert len(found()) == 1


class OfAnyName(type):
    """Has its instances' class answer to every name, and to none of them well."""

    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Strange(metaclass=OfAnyName):
    pass


class AnyStep:
    """What a class may have as a method, and what is no method."""

    def __init__(self, requests: Any) -> None:
        self._requests = requests

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __call__(self) -> Any:
        return next(self._requests)


def callable_step(requests: Any) -> Any:
    kind = type("Given", (), {"__next__": AnyStep(requests), "__iter__": lambda self: self})
    return kind()


def strange_attribute(requests: Any) -> Any:
    given = HandsOn(requests)
    given.strange = Strange()  # type: ignore[attr-defined]
    return given


def without_module(requests: Any) -> Any:
    names: dict[str, Any] = {"requests": requests}
    exec("def step(self): return next(requests)", names)
    names["step"].__module__ = None
    return type("Given", (), {"__next__": names["step"], "__iter__": lambda self: self})()


@pytest.mark.parametrize("make", [callable_step, strange_attribute, without_module])
def test_requests_of_a_strange_kind(make: Any, found: Found) -> None:
    """What is looked at is never asked, whatever it would answer: the second thread is refused."""
    refused_beside_another(make)
    assert [finding.rule for finding in found()] == ["concurrent-read"]


def requests_of_ended_handler(make: Any) -> Any:
    """Return what `make` has made of the requests of a handler that has ended."""
    out: list[Any] = []

    def behavior(requests: Any, context: Any) -> bytes:
        out.append(requests)
        return b""

    handlers = methods("stream_unary", behavior)
    with (
        sync_server(handlers, interceptors=[giving(make)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        channel.stream_unary(RPC)(iter([b"0", b"1"]))
    return out[0]


def test_requests_that_were_read_before(found: Found) -> None:
    """An iterator of a list may be used when the RPC is over: gRPC is not asked."""
    given = requests_of_ended_handler(lambda requests: iter(list(requests)))
    assert list(given) == [b"0", b"1"]
    assert found() == []


@pytest.mark.parametrize(
    "make",
    [HandsOn, OwnLock, lambda given: (each for each in given), lambda given: map(str, given)],
)
def test_requests_that_lead_to_grpc(make: Any, found: Found) -> None:
    """Anything else is refused then: the RPC is over."""
    given = requests_of_ended_handler(make)
    with pytest.raises(ConcurrencyError, match="handler-returned"):
        next(given)
    assert len(found()) == 1


@pytest.mark.parametrize("mode", MODES)
def test_responses_that_are_sent_under_a_lock(mode: str, found: Found) -> None:
    """A non-blocking handler may be given a function that takes a lock before it sends."""
    gate, two_came = Gate(), threading.Event()

    def runs(plain: Any) -> Any:
        lock = threading.Lock()

        def run(request: bytes, context: Any, send: Any) -> None:
            def send_locked(response: bytes | None) -> None:
                if response == b"1":
                    two_came.set()
                with lock:
                    send(gate.park_at(b"0")(response))

            plain(request, context, send_locked)

        run.experimental_non_blocking = True  # type: ignore[attr-defined]
        return run

    def behavior(request: bytes, context: Any, send: Any) -> None:
        parties = [in_thread(send, b"0")]
        with gate.held():
            parties.append(in_thread(send, b"1"))
            wait(two_came)
        for party in parties:
            party.result()
        send(None)

    behavior.experimental_non_blocking = True  # type: ignore[attr-defined]
    handlers = methods("unary_stream", behavior)
    with (
        sync_server(handlers, mode=mode, interceptors=[Around("unary_stream", runs)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        assert list(channel.unary_stream(RPC)(b"")) == [b"0", b"1"]
    assert found() == []


# Asyncio: requests and contexts


class Queued:
    """Requests that a task puts into a queue, from which anybody may take the next."""

    def __init__(self, requests: Any) -> None:
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._task = asyncio.create_task(self._pump(requests))

    async def _pump(self, requests: Any) -> None:
        async for request in requests:
            self._queue.put_nowait(request)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        return await self._queue.get()


def aio_giving(make: Callable[[Any], Any]) -> AioAround:
    """Return an interceptor that gives the handler what `make` makes of its requests."""

    def runs(plain: Any) -> Any:
        async def run(given: Any, context: Any) -> Any:
            return await plain(make(given), context)

        return run

    return AioAround("stream_unary", runs)


@pytest.mark.parametrize("mode", MODES)
async def test_requests_from_a_queue(mode: str, found: Found) -> None:
    """Tasks may wait at it side by side."""
    begin = asyncio.Event()

    async def behavior(requests: Any, context: Any) -> bytes:
        parties = [asyncio.create_task(anext(requests)) for _ in range(2)]
        await settle()
        begin.set()
        return b" ".join(await outcomes(*parties))

    async def requests() -> AsyncIterator[bytes]:
        await begin.wait()
        yield b"0"
        yield b"1"

    interceptors = [aio_giving(Queued)]
    handlers = methods("stream_unary", behavior)
    async with (
        aio_server(handlers, mode=mode, interceptors=interceptors) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert await within(channel.stream_unary(RPC)(requests())) == b"0 1"
    assert found() == []


class ContextWithLock(ContextThatHandsOn):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()

    async def write(self, message: bytes) -> None:
        async with self._lock:
            await self.context.write(message)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_counted", [False, True])
async def test_a_context_with_a_lock(
    is_counted: bool, mode: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While gRPC sends a message of one task, another waits for the lock: both are sent."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    assert await two_writes(ContextWithLock, mode) == [None, None]
    assert found() == []


async def test_a_context_that_hands_on(found: Found) -> None:
    """With no lock, the second is refused."""
    written = await two_writes(ContextThatHandsOn, "raise")
    assert [type(one) for one in written] == [type(None), ConcurrencyError]
    assert [finding.rule for finding in found()] == ["concurrent-write"]


async def test_a_lock_that_a_yield_does_not_take(found: Found) -> None:
    """What a handler yields goes past the context and its lock: a write beside it is refused."""

    def runs(plain: Any) -> Any:
        async def run(request: bytes, context: Any) -> AsyncIterator[bytes]:
            async for response in plain(request, ContextWithLock(context)):
                yield response

        return run

    await write_refused_beside_yield(runs)
    assert len(found()) == 1


class AioOwnLock:
    def __init__(self, requests: Any) -> None:
        self._requests, self._lock = aiter(requests), asyncio.Lock()

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> bytes:
        async with self._lock:
            return await anext(self._requests)  # type: ignore[no-any-return]


async def test_a_lock_that_the_context_does_not_take(found: Found) -> None:
    """Beside context.read(), which is not under the lock of the requests, a task is refused."""
    begin = asyncio.Event()

    async def behavior(requests: Any, context: Any) -> bytes:
        reader = asyncio.create_task(context.read())
        await settle()
        with pytest.raises(ConcurrencyError, match="concurrent-read"):
            await anext(requests)
        begin.set()
        return await reader  # type: ignore[no-any-return]

    async def requests() -> AsyncIterator[bytes]:
        await begin.wait()
        yield b"0"

    interceptors = [aio_giving(AioOwnLock)]
    async with (
        aio_server(methods("stream_unary", behavior), interceptors=interceptors) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert await within(channel.stream_unary(RPC)(requests())) == b"0"
    assert len(found()) == 1
