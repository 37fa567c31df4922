"""Whether an interceptor's object may have many callers, as the code of its operation tells."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from inside import core_fields
from support.around import (
    ContextThatHandsOn,
    HandsOn,
    refused_beside_another,
    served_side_by_side,
    two_writes,
)
from support.staging import PATIENCE, in_thread, wait

from grpc_guard import ConcurrencyError, Finding

Found = Callable[[], list[Finding]]
MODES = ["raise", "warn", "serialize"]

_lock = threading.Lock()


# Sync: what keeps callers apart


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


class LockOfBase(LockOfHelper):
    def __next__(self) -> Any:
        return super().__next__()


class LockAsDefault(HandsOn):
    def __next__(self, lock: Any = _lock) -> Any:
        self.arrive()
        with lock:
            return next(self.requests)


def take_alone(lock: Any, requests: Any) -> Any:
    with lock:
        return next(requests)


class LockOfPartial(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._take = functools.partial(take_alone, threading.Lock())

    def __next__(self) -> Any:
        self.arrive()
        return self._take(self.requests)


class Runner:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, take: Callable[[], Any]) -> Any:
        with self._lock:
            return take()


class LockOfWhatRunsIt(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._alone = Runner()

    def __next__(self) -> Any:
        self.arrive()
        return self._alone(lambda: next(self.requests))


class Turnstile:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def enter(self) -> None:
        self._lock.acquire()

    def leave(self) -> None:
        self._lock.release()


class LockThatOthersHold(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._turnstile = Turnstile()

    def __next__(self) -> Any:
        self.arrive()
        self._turnstile.enter()
        try:
            return next(self.requests)
        finally:
            self._turnstile.leave()


class LockInTable(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._table = {"read": {"take": self._take}}

    def _take(self) -> Any:
        with _lock:
            return next(self.requests)

    def __next__(self) -> Any:
        self.arrive()
        return self._table["read"]["take"]()


class HasLock(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._alone = threading.Lock()


class LockAroundTry(HasLock):
    def __next__(self) -> Any:
        self.arrive()
        with self._alone:
            try:
                request = next(self.requests)
            except ValueError:
                request = None
        return request


class Busy(HandsOn):
    """Asks when nobody else does, which it knows by a condition that it gives back before."""

    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._changed = threading.Condition()
        self._is_busy = False

    def __next__(self) -> Any:
        self.arrive()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy)
            self._is_busy = True
        try:
            return next(self.requests)
        finally:
            with self._changed:
                self._is_busy = False
                self._changed.notify()

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_busy)
            self._is_busy = True

    def leave(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify()


class BusyByMethods(Busy):
    """The same, where the condition is asked by methods of the object."""

    def _begin(self) -> None:
        with self._changed:
            while self._is_busy:
                self._changed.wait()
            self._is_busy = True

    def _end(self) -> None:
        with self._changed:
            self._is_busy = False
            self._changed.notify()

    def __next__(self) -> Any:
        self.arrive()
        self._begin()
        try:
            return next(self.requests)
        finally:
            self._end()


class BusyByHelper(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._gate = Busy(None)

    def __next__(self) -> Any:
        self.arrive()
        self._gate.enter()
        try:
            return next(self.requests)
        finally:
            self._gate.leave()


_LIBRARY = """
import threading

class Locked:
    def __init__(self, requests):
        self._requests, self._alone = requests, threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self._alone:
            return next(self._requests)
"""


def of_library() -> Any:
    """Return what a module that is installed has."""
    names: dict[str, Any] = {"__name__": "locked_library"}
    exec(compile(_LIBRARY, f"{sysconfig.get_path('purelib')}/locked_library.py", "exec"), names)
    return names["Locked"]


class AroundLocked(HandsOn):
    """Around the iterator of a library, which has the lock."""

    def __init__(self, requests: Any) -> None:
        super().__init__(of_library()(requests))
        self.count = 0

    def __next__(self) -> Any:
        self.arrive()
        request = next(self.requests)
        self.count += 1
        return request


class Numbered(HasLock):
    """Asks something else besides, under no lock, and gRPC by another name."""

    _numbers = itertools.count()

    def _get(self) -> Any:
        return next(self.requests)

    def __next__(self) -> Any:
        self.arrive()
        self.number = next(self._numbers)
        with self._alone:
            return self._get()


class NumberedLoop(Numbered):
    def __next__(self) -> Any:
        self.arrive()
        self.number = next(self._numbers)
        with self._alone:
            for request in self.requests:
                return request
        raise StopIteration


class NumberedProperty(Numbered):
    """The same, where gRPC is asked by a property, which is no call."""

    @property
    def _request(self) -> Any:
        return next(self.requests)

    def __next__(self) -> Any:
        self.arrive()
        self.number = next(self._numbers)
        with self._alone:
            return self._request


class EntersByName(HasLock):
    def __next__(self) -> Any:
        self.arrive()
        self._alone.__enter__()
        try:
            return next(self.requests)
        finally:
            self._alone.__exit__(None, None, None)


KEEP_APART = [
    *(LockOfHelper, LockOfProperty, LockOfOtherMethod, LockOfFunction, LockOfClassThatIsEntered),
    *(OtherThread, Fetched, LockOfBase, LockAsDefault, LockOfPartial, LockOfWhatRunsIt),
    *(LockThatOthersHold, LockInTable, LockAroundTry, Busy, BusyByMethods, BusyByHelper),
    *(AroundLocked, Numbered, NumberedLoop, NumberedProperty, EntersByName),
]


@pytest.mark.parametrize("make", KEEP_APART)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_counted", [False, True])
def test_requests_for_many_callers(
    is_counted: bool, mode: str, make: Any, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a thread is inside, another waits for its turn: both are served."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    served_side_by_side(make, mode)
    assert found() == []


# Sync: what does not


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


class Counts(HandsOn):
    """Counts under a lock what gRPC has given it without one."""

    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._counter = Counter()

    def __next__(self) -> Any:
        self.arrive()
        request = next(self.requests)
        self._counter.add()
        return request


class Counter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self) -> None:
        with self._lock:
            self._count += 1


_count = 0


class CountsInModule(HandsOn):
    """The same in one function, by a lock of the module."""

    def __next__(self) -> Any:
        global _count
        self.arrive()
        with _lock:
            _count += 1
        return next(self.requests)


class CountsAfterwards(HasLock):
    """The same by a lock of its own."""

    count = 0

    def __next__(self) -> Any:
        self.arrive()
        request = next(self.requests)
        with self._alone:
            self.count += 1
        return request


class RemembersAFew(HandsOn):
    def __init__(self, requests: Any) -> None:
        super().__init__(requests)
        self._seen: deque[Any] = deque()

    def __next__(self) -> Any:
        self.arrive()
        request = next(self.requests)
        self._seen.append(request)
        while len(self._seen) > 1:
            self._seen.popleft()
        return request


class Audits(HandsOn):
    """Has a thread do something with what gRPC has given it."""

    _pool = ThreadPoolExecutor(1)

    def __next__(self) -> Any:
        self.arrive()
        request = next(self.requests)
        self._audit(request)
        return request

    def _audit(self, request: Any) -> None:
        self._pool.submit(len, request)


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def audited(self: Any) -> Any:
        request = function(self)
        Audits._pool.submit(len, request)
        return request

    return audited


class AuditsInDecorator(HandsOn):
    @decorated
    def __next__(self) -> Any:
        self.arrive()
        return next(self.requests)


HAND_ON = [
    *(Logs, OtherLock, EmptySlot, Counts, CountsInModule, CountsAfterwards, RemembersAFew),
    *(Audits, AuditsInDecorator),
]


@pytest.mark.parametrize("make", HAND_ON)
def test_requests_that_are_handed_on(make: Any, found: Found) -> None:
    """What is done besides keeps nobody apart: the second thread is refused."""
    refused_beside_another(HandsOn, make)
    assert [finding.rule for finding in found()] == ["concurrent-read"]


class SaidToWrapItself(HandsOn):
    def __next__(self) -> Any:
        self.arrive()
        return next(self.requests)

    __next__.__wrapped__ = __next__  # type: ignore[attr-defined]


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


class NamesUnhashable(LockOfHelper):
    strange = Unhashable("Strange", (), {})()

    def __next__(self) -> Any:
        self.arrive()
        with self.session.lock:
            return next(self.requests) if self.strange else None


@pytest.mark.parametrize("mode", MODES)
def test_that_classes_are_not_hashed(mode: str, found: Found) -> None:
    """A metaclass may forbid that."""
    served_side_by_side(NamesUnhashable, mode)
    assert found() == []


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


def test_that_a_function_may_wrap_itself(found: Found) -> None:
    """The search comes to an end."""
    refused_beside_another(SaidToWrapItself)
    assert len(found()) == 1


def test_that_nothing_is_run(found: Found) -> None:
    """What the code of an operation names is not asked for it."""
    refused_beside_another(NamesCurious)
    assert len(found()) == 1
    assert Curious.asked == []


# Asyncio: contexts


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


class Answering:
    """Has its methods made when they are asked for: their code is not found by a name."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._alone = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        async def method(*args: Any) -> Any:
            async with self._alone:
                return await getattr(self._context, name)(*args)

        return method


class ContextAroundAnswering(ContextThatHandsOn):
    """Passes on to an object that keeps callers apart, and has a lock for something else."""

    def __init__(self, context: Any) -> None:
        super().__init__(Answering(context))


class ContextWithGroup(ContextThatHandsOn):
    """Sends each message in a group of its own, which begins by waiting for the last one."""

    _last: asyncio.Future[Any] | None = None

    async def write(self, message: bytes) -> None:
        before = self._last
        self._last = asyncio.gather(self._send(before, message))
        await self._last

    async def _send(self, before: Any, message: bytes) -> None:
        if before is not None:
            await before
        await self.context.write(message)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_counted", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        *(ContextWithHelper, ContextThatEnqueues, ContextWithTasks, ContextWithGroup),
        ContextAroundAnswering,
    ],
)
async def test_a_context_for_many_callers(
    make: Any, is_counted: bool, mode: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While gRPC sends a message of one task, another waits for its turn: both are sent."""
    monkeypatch.setattr(core_fields, "counting", is_counted)
    assert await two_writes(make, mode) == [None, None]
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


class ContextWithDeadline(ContextThatHandsOn):
    """Has gRPC's own coroutine run in a task: that keeps nobody apart."""

    async def write(self, message: bytes) -> None:
        await asyncio.shield(asyncio.create_task(self.context.write(message)))


class ContextThatCounts(ContextThatHandsOn):
    """Counts what it sends, under a lock of its own."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._lock = asyncio.Lock()
        self.count = 0

    async def write(self, message: bytes) -> None:
        async with self._lock:
            self.count += 1
        await self.context.write(message)


class Limiter:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def admit(self) -> None:
        async with self._lock:
            pass


class ContextWithLimiter(ContextThatHandsOn):
    """Takes a lock, and has given it back when it writes."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._limiter = Limiter()

    async def write(self, message: bytes) -> None:
        await self._limiter.admit()
        await self.context.write(message)


@pytest.mark.parametrize(
    "make", [ContextThatTraces, ContextWithDeadline, ContextThatCounts, ContextWithLimiter]
)
async def test_a_context_that_hands_on(make: Any, found: Found) -> None:
    """With nothing that keeps callers apart, the second is refused."""
    written = await two_writes(make, "raise")
    assert [type(one) for one in written] == [type(None), ConcurrencyError]
    assert [finding.rule for finding in found()] == ["concurrent-write"]
