"""What a server interceptor gives a handler in place of gRPC's own may be made for many callers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from inside import core_fields
from support.around import RPC, AioAround, Around, methods
from support.stage import BULK, NARROW
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
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


class HandsOn:
    """Adds nothing to what it is given: two callers of it are two callers of gRPC."""

    def __init__(self, requests: Any) -> None:
        self.requests = requests
        self.two_came = threading.Event()
        self._callers = itertools.count(1)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        self.arrive()
        return next(self.requests)

    def arrive(self) -> None:
        if next(self._callers) == 2:
            self.two_came.set()


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


class Session:
    """What an object of an interceptor may keep its lock in."""

    __slots__ = ("lock", "unused")

    def __init__(self) -> None:
        self.lock = threading.Lock()

    @property
    def free(self) -> Any:
        return self.lock


class LockOfHelper(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self.session = Session()

    def __next__(self) -> Any:
        self.arrive()
        with self.session.lock:
            return next(self.requests)


class LockOfProperty(LockOfHelper):
    def __next__(self) -> Any:
        self.arrive()
        with self.session.free:
            return next(self.requests)


class LockOfOtherMethod(HandsOn):
    def __next__(self) -> Any:
        self.arrive()
        return self.take()

    def take(self) -> Any:
        with _lock:
            return next(self.requests)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    with _lock:
        yield


class LockOfFunction(HandsOn):
    def __next__(self) -> Any:
        self.arrive()
        with alone():
            return next(self.requests)


class Alone:
    def __enter__(self) -> None:
        _lock.acquire()

    def __exit__(self, *error: object) -> None:
        _lock.release()


class LockOfClassThatIsEntered(HandsOn):
    def __next__(self) -> Any:
        self.arrive()
        with Alone():
            return next(self.requests)


class OtherThread(HandsOn):
    """Asks gRPC in one thread of its own, whoever wants the next request."""

    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._pool = ThreadPoolExecutor(1)

    def __next__(self) -> Any:
        self.arrive()
        return self._pool.submit(next, self.requests).result(PATIENCE)


class Fetched(HandsOn):
    """Has a thread that reads ahead, and gives away what that has read."""

    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._read: list[Any] = []
        self._has_read = threading.Event()
        in_thread(self._fetch)

    def _fetch(self) -> None:
        self._read += list(self.requests)
        self._has_read.set()

    def __next__(self) -> Any:
        self.arrive()
        wait(self._has_read)
        return self._read.pop()


def shorter_way(requests: Any) -> Any:
    """Return what has another way to gRPC's object, past the lock, and does not use it."""
    given = HandsOn(OwnLock(requests))
    given.plain = requests  # type: ignore[attr-defined]
    return given


def giving(make: Callable[[Any], Any]) -> Around:
    """Return an interceptor that gives the handler what `make` makes of its requests."""
    return Around("stream_unary", lambda plain: lambda given, context: plain(make(given), context))


class Calling:
    """Calls RPC with two requests that are sent when it is asked, in a thread."""

    def __init__(self, channel: Any) -> None:
        self._gate = Gate()
        self._party = in_thread(channel.stream_unary(RPC), self._requests())

    def _requests(self) -> Iterator[bytes]:
        self._gate.park()
        yield b"0"
        yield b"1"

    def send(self) -> None:
        self._gate.open()

    def result(self) -> Any:
        return self._party.result()


@pytest.mark.parametrize(
    "make",
    [
        *(OwnLock, LockOfClass, LockOfModule, LocksInCollection),
        *(lock_of_closure, lock_further_in, shorter_way),
        *(LockOfHelper, LockOfProperty, LockOfOtherMethod, LockOfFunction),
        *(LockOfClassThatIsEntered, OtherThread, Fetched),
    ],
)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_counted", [False, True])
def test_requests_with_a_lock(
    is_counted: bool, mode: str, make: Any, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a thread waits for gRPC's next message, another waits for the lock: both are served."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    calls: list[Calling] = []
    started = threading.Event()

    def behavior(requests: Any, context: Any) -> bytes:
        parties = [in_thread(next, requests) for _ in range(2)]
        wait(requests.two_came)
        wait(started)
        calls[0].send()
        return b" ".join(sorted(party.result() for party in parties))

    handlers = methods("stream_unary", behavior)
    with (
        sync_server(handlers, mode=mode, interceptors=[giving(make)]) as address,
        sync_channel(address, mode=None) as channel,
    ):
        calls.append(Calling(channel))
        started.set()
        assert calls[0].result() == b"0 1"
    assert found() == []


class Logs(HandsOn):
    """Has a library do something on the way, which has a lock for itself."""

    _logger = logging.getLogger(__name__)

    def __next__(self) -> Any:
        self.arrive()
        self._logger.debug("next of %r", self)
        return next(self.requests)


class OtherLock(LockOfHelper):
    """Takes the lock for something else."""

    def __next__(self) -> Any:
        self.arrive()
        return next(self.requests)

    def __repr__(self) -> str:
        with self.session.lock:
            return "OtherLock()"


class EmptySlot(LockOfHelper):
    def __next__(self) -> Any:
        self.arrive()
        assert not hasattr(self.session, "unused")
        if self.session is None:
            return self.session.unused
        return next(self.requests)


@pytest.mark.parametrize("make", [HandsOn, Logs, OtherLock, EmptySlot])
def test_requests_that_are_handed_on(make: Any, found: Found) -> None:
    """What has no lock on the way to gRPC keeps nobody apart: the second thread is refused."""
    refused_beside_another(giving(HandsOn), giving(make))
    assert len(found()) == 1


def refused_beside_another(*interceptors: Around) -> None:
    """Have a handler's second thread refused, in requests that a first one waits for."""
    calls: list[Calling] = []
    started = threading.Event()

    def behavior(requests: Any, context: Any) -> bytes:
        first = inside_grpc(next, requests)
        with pytest.raises(ConcurrencyError, match="concurrent-read"):
            next(requests)
        wait(started)
        calls[0].send()
        return first.result() + next(requests)  # type: ignore[no-any-return]

    handlers = methods("stream_unary", behavior)
    with (
        sync_server(handlers, interceptors=interceptors) as address,
        sync_channel(address, mode=None) as channel,
    ):
        calls.append(Calling(channel))
        started.set()
        assert calls[0].result() == b"01"


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


class SaidToWrapItself(HandsOn):
    def __next__(self) -> Any:
        self.arrive()
        return next(self.requests)

    __next__.__wrapped__ = __next__  # type: ignore[attr-defined]


class Curious:
    """Notes whatever it is asked."""

    asked: ClassVar[list[str]] = []
    __class__ = property(lambda self: Curious.asked.append("class"))  # type: ignore[assignment]
    __dict__ = property(lambda self: Curious.asked.append("dict"))  # type: ignore[assignment]

    def __getattribute__(self, name: str) -> Any:
        Curious.asked.append(name)


class NamesCurious(HandsOn):
    curious = Curious()

    @property
    def unused(self) -> Any:
        Curious.asked.append("property")
        return None

    def __next__(self) -> Any:
        if self.requests is None:
            return self.curious.unused, self.unused
        return next(self.requests)


def test_that_nothing_is_run(found: Found) -> None:
    """What the code of an operation names is not asked for it."""
    refused_beside_another(giving(NamesCurious))
    assert len(found()) == 1
    assert Curious.asked == []


def without_module(requests: Any) -> Any:
    names: dict[str, Any] = {"requests": requests}
    exec("def step(self): return next(requests)", names)
    names["step"].__module__ = None
    return type("Given", (), {"__next__": names["step"], "__iter__": lambda self: self})()


@pytest.mark.parametrize(
    "make", [callable_step, strange_attribute, without_module, SaidToWrapItself]
)
def test_requests_of_a_strange_kind(make: Any, found: Found) -> None:
    """What is looked at is never asked, whatever it would answer: the second thread is refused."""
    refused_beside_another(giving(make))
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

    def runs(plain: Any) -> Any:
        async def run(given: Any, context: Any) -> Any:
            return await plain(Queued(given), context)

        return run

    interceptors = [AioAround("stream_unary", runs)]
    handlers = methods("stream_unary", behavior)
    async with (
        aio_server(handlers, mode=mode, interceptors=interceptors) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert await within(channel.stream_unary(RPC)(requests())) == b"0 1"
    assert found() == []


class ContextThatHandsOn:
    def __init__(self, context: Any) -> None:
        self.context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self.context, name)

    async def write(self, message: bytes) -> None:
        await self.context.write(message)


class ContextWithLock(ContextThatHandsOn):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()

    async def write(self, message: bytes) -> None:
        async with self._lock:
            await self.context.write(message)


class Sending:
    """What a context may send by, in place of sending itself."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.alone = asyncio.Lock()

    async def send(self, message: bytes) -> None:
        async with self.alone:
            await self.context.write(message)


class ContextWithHelper(ContextThatHandsOn):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._sending = Sending(context)

    async def write(self, message: bytes) -> None:
        await self._sending.send(message)


class ContextThatEnqueues(ContextThatHandsOn):
    """Has a task that sends one after the other."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._outbox: list[tuple[bytes, asyncio.Event]] = []
        self._has_some = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._send())

    async def write(self, message: bytes) -> None:
        is_sent = asyncio.Event()
        self._outbox.append((message, is_sent))
        self._has_some.set()
        await is_sent.wait()

    async def _send(self) -> None:
        while True:
            await self._has_some.wait()
            self._has_some.clear()
            while self._outbox:
                message, is_sent = self._outbox.pop(0)
                await self.context.write(message)
                is_sent.set()


class ContextWithTasks(ContextThatHandsOn):
    """Sends each message in a task, after that of the last one."""

    _last: asyncio.Task[None] | None = None

    async def write(self, message: bytes) -> None:
        before = self._last

        async def send() -> None:
            if before is not None:
                await before
            await self.context.write(message)

        self._last = asyncio.create_task(send())
        await self._last


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_counted", [False, True])
@pytest.mark.parametrize(
    "make", [ContextWithLock, ContextWithHelper, ContextThatEnqueues, ContextWithTasks]
)
async def test_a_context_for_many_callers(
    make: Any, is_counted: bool, mode: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While gRPC sends a message of one task, another waits for its turn: both are sent."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    assert await _two_writes(make, mode) == [None, None]
    assert found() == []


class ContextThatTraces(ContextThatHandsOn):
    """Notes when it has sent something, which keeps nobody apart."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.has_sent = asyncio.Event()

    async def write(self, message: bytes) -> None:
        with contextlib.nullcontext():
            await self.context.write(message)
        self.has_sent.set()


@pytest.mark.parametrize("make", [ContextThatHandsOn, ContextThatTraces])
async def test_a_context_that_hands_on(make: Any, found: Found) -> None:
    """With nothing that keeps callers apart, the second is refused."""
    written = await _two_writes(make, "raise")
    assert [type(one) for one in written] == [type(None), ConcurrencyError]
    assert [finding.rule for finding in found()] == ["concurrent-write"]


async def _two_writes(make: Callable[[Any], Any], mode: str) -> list[Any]:
    """Return how two writes at once end, in a handler with the context that `make` makes."""
    written: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def behavior(request: bytes, context: Any) -> None:
        parties = [asyncio.create_task(context.write(BULK)) for _ in range(2)]
        await settle()
        begun.set()
        written.set_result(await outcomes(*parties))

    def runs(plain: Any) -> Any:
        async def run(request: bytes, context: Any) -> None:
            await plain(request, make(context))

        return run

    interceptors = [AioAround("unary_stream", runs)]
    handlers = methods("unary_stream", behavior)
    async with (
        aio_server(handlers, mode=mode, interceptors=interceptors) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        await within(begun.wait())
        count = len([None async for _ in call])
        ended = await within(written)
    assert count == ended.count(None)
    return ended


async def test_a_lock_that_a_yield_does_not_take(found: Found) -> None:
    """What a handler yields goes past the context and its lock: a write beside it is refused."""
    yielded, tasks = asyncio.Event(), list[asyncio.Task[None]]()

    async def write(context: Any) -> None:
        await yielded.wait()
        await context.write(b"late")

    async def behavior(request: bytes, context: Any) -> AsyncIterator[bytes]:
        tasks.append(asyncio.create_task(write(context)))
        yield BULK

    def runs(plain: Any) -> Any:
        async def run(request: bytes, context: Any) -> AsyncIterator[bytes]:
            async for response in plain(request, ContextWithLock(context)):
                yield response

        return run

    interceptors = [AioAround("unary_stream", runs)]
    async with (
        aio_server(methods("unary_stream", behavior), interceptors=interceptors) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        await within(
            call.initial_metadata()
        )  # the message, for which it has no room, is on its way
        yielded.set()
        with pytest.raises(ConcurrencyError, match="concurrent-write"):
            await within(tasks[0])
        assert [message[:1] async for message in call] == [b"\0"]
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

    def runs(plain: Any) -> Any:
        async def run(given: Any, context: Any) -> Any:
            return await plain(AioOwnLock(given), context)

        return run

    interceptors = [AioAround("stream_unary", runs)]
    async with (
        aio_server(methods("stream_unary", behavior), interceptors=interceptors) as address,
        aio_channel(address, mode=None) as channel,
    ):
        assert await within(channel.stream_unary(RPC)(requests())) == b"0"
    assert len(found()) == 1
