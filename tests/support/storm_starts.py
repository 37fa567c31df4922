"""Starts of streams, and handlers, that an exception interrupts at random: parts of storm.py.

What must not be left: a stream that its channel takes to be open for ever, a generator that feeds
it for ever, a direction that is owned.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
from inside import (
    Api,
    Handlers,
    Mode,
    aio_channel,
    aio_handlers,
    always,
    core_which,
    lifecycle_channels,
    sync_calls,
    sync_channel,
    sync_handlers,
)

import grpc_guard
from support.interrupts import Interrupt, interrupt_thread

SEED = 1
OFTEN = 1_000

Strike = Callable[[Callable[[], Any], float], bool]


@contextmanager
def by_signal(trace: Any = None) -> Iterator[Strike]:
    """Yield what does an act again and again, until the handler of a signal raises in it."""
    arrived = False

    def handler(number: int, frame: Any) -> None:
        nonlocal arrived
        arrived = True
        raise Interrupt

    def strike(act: Callable[[], Any], after: float) -> bool:
        nonlocal arrived
        arrived = False
        try:
            try:
                sys.settrace(trace)
                for turn in itertools.count():
                    if turn % OFTEN == 0:  # CPython may forget a signal that another thread has got
                        signal.setitimer(signal.ITIMER_REAL, after)
                    act()
                    if arrived:  # and swallowed, in a finaliser
                        return False
            finally:
                sys.settrace(None)
        except Interrupt:
            sys.settrace(None)
            return True

    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield strike
    finally:
        signal.signal(signal.SIGALRM, before)


@contextmanager
def by_thread() -> Iterator[Strike]:
    """Yield what does an act again and again, until another thread throws into it."""
    begin = threading.Lock()  # not of threading's in Python, which can be interrupted
    begin.acquire()
    victim, goes_on, asked, thrown = threading.get_ident(), True, 0, 0
    interval = sys.getswitchinterval()

    def throw() -> None:
        nonlocal thrown
        while begin.acquire() and goes_on:
            interrupt_thread(victim)
            thrown += 1

    def strike(act: Callable[[], Any], after: float) -> bool:
        nonlocal asked
        sys.setswitchinterval(after)
        asked += 1
        try:
            begin.release()
            while thrown < asked:
                act()
            threading.get_ident()  # a call: what is pending still comes now
        except Interrupt:
            while thrown < asked:
                time.sleep(0)
            return True
        return False

    thread = threading.Thread(target=throw, daemon=True)
    thread.start()
    try:
        yield strike
    finally:
        goes_on = False
        begin.release()
        thread.join()
        sys.setswitchinterval(interval)


# Starts


class _Call:
    """What the plain method of a multi-callable returns: a call of either api."""

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> int:
        raise StopIteration

    def is_active(self) -> bool:
        return True

    def done(self) -> bool:
        return False

    def add_done_callback(self, callback: object) -> None:
        pass

    async def read(self) -> object:
        return self

    write = done_writing = read


class _Multi:
    """A plain multi-callable, which does a little and fails if it is told to."""

    def __init__(self, core: Any, loop: Any = None) -> None:
        self._channel = core
        self._loop = loop

    def __call__(self, requests: Any = None, *, error: Any = None) -> Any:
        for _ in range(2):
            threading.get_ident()
        if error is not None:
            raise error
        return _Call()

    def with_call(self, requests: Any = None) -> Any:
        return self(requests), self(requests)

    future = __call__


class Starts:
    """All ways to start a stream on one channel, and what they have left."""

    def __init__(self, channel: Any, loop: Any = None) -> None:
        core = channel._channel
        lifecycle_channels.made(channel, Api.AIO if loop else Api.SYNC, "storm")
        self._life = lifecycle_channels.life_of(SimpleNamespace(_channel=core))
        assert self._life is not None
        kinds = sync_channel if loop is None else aio_channel
        plain = _Multi(core, loop)
        reading = kinds.UnaryStream(plain, "/a/b", always(Mode.RAISE))
        sending = kinds.StreamUnary(plain, "/a/b", always(Mode.RAISE))
        both = kinds.StreamStream(plain, "/a/b", always(Mode.RAISE))
        self.left: Counter[str] = Counter()
        self._make = _numbers if loop is None else _async_numbers
        self._generator = self._make()
        self.acts: list[Callable[[], Any]] = [
            lambda: reading(b"1"),
            lambda: both(self._generator),
            lambda: both(iter(())),
            lambda: sending(self._generator),
            lambda: self._failing(reading),
            lambda: self._failing(both, self._generator),
        ]
        if loop is None:
            self.acts += [
                lambda: sending.future(self._generator),
                lambda: sending.with_call(self._generator),
            ]
        else:
            self.acts += [both, sending]

    def _failing(self, start: Any, *args: Any) -> None:
        with contextlib.suppress(KeyError):
            start(*args, error=KeyError())

    def look(self, act: Callable[[], Any]) -> None:
        """Count what the interrupted `act` has left."""
        for _ in self._life.sorted_out():
            self.left["open"] += 1
        try:
            act()
        except grpc_guard.ConcurrencyError:
            self.left["bound"] += 1
            self._generator = self._make()
        self._life.streams.clear()


def _numbers() -> Iterator[int]:
    yield 1


async def _async_numbers() -> AsyncIterator[int]:
    yield 1


# Handlers


class _Pause:
    def __await__(self) -> Iterator[None]:
        yield None


class _Context:
    """What gRPC gives to a handler, its requests as well."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], object]] = []

    def is_active(self) -> bool:
        return True

    async def read(self) -> bytes:
        await _Pause()
        return b"1"

    def __aiter__(self) -> _Context:
        return self

    __anext__ = read

    async def write(self, message: bytes) -> None:
        await _Pause()

    def add_callback(self, callback: Callable[[], object]) -> bool:
        self.callbacks.append(callback)
        return True


class Handling:
    """Handlers of all shapes, each with what it was given last, and what they have left."""

    def __init__(self, *, is_async: bool) -> None:
        self._records = Handlers(None)
        self._context = _Context()
        self._given: Any = (None, None)
        self.left: Counter[str] = Counter()
        make = aio_handlers.guard_behavior if is_async else sync_handlers.guard_behavior

        def guarded(respond: Any, *shape: bool) -> Any:
            return make(respond, "/a/b", always(Mode.RAISE), *shape, handlers=self._records)

        if is_async:
            self.acts = [
                lambda one=one: _run(one(self._requests(), self._context))  # type: ignore[misc]
                for one in (
                    guarded(self._answer_async, False, False),
                    guarded(self._answer_async, True, False),
                    guarded(self._answer_async, True, True),
                )
            ]
            generating = guarded(self._generate_async, True, True)
            self.acts.append(lambda: _exhaust(generating(self._requests(), self._context)))
        else:
            answering = [guarded(self._answer, reads, False) for reads in (False, True)]
            generating = [guarded(self._generate, reads, True) for reads in (False, True)]
            self.acts = [
                *(lambda one=one: one(iter((1,)), self._context) for one in answering),  # type: ignore[misc]
                *(lambda one=one: list(one(iter((1,)), self._context)) for one in generating),  # type: ignore[misc]
            ]

    def _requests(self) -> Any:
        return _Context()

    def _answer(self, requests: Any, context: Any) -> int:
        self._given = requests, context
        return sum(requests)

    def _generate(self, requests: Any, context: Any) -> Iterator[int]:
        self._given = requests, context
        yield from requests

    async def _answer_async(self, requests: Any, context: Any) -> int:
        self._given = requests, context
        await context.read()
        await context.write(b"1")
        return 1

    async def _generate_async(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        self._given = requests, context
        yield await anext(aiter(requests))
        yield 1

    def _open(self) -> int:
        noted = [entry.stream() for entry in self._records._by_thread.values()]
        return sum(stream is not None and not stream.ended for stream in noted)

    def look(self, act: Callable[[], Any]) -> None:
        """Count what the interrupted `act` has left, and end its RPC."""
        self._context.callbacks.clear()
        stream = getattr(self._given[1], "_self_stream", None)
        for direction in () if stream is None else (stream.read, stream.write):
            self.left["owned"] += direction is not None and not direction.is_free
        stream = None
        self._given = (None, None)
        if self._open():
            gc.collect()
            self.left["open"] += self._open()
        act()
        self._given = (None, None)


def _run(coroutine: Any) -> None:
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


def _exhaust(responses: Any) -> None:
    try:
        while True:
            _run(responses.__anext__())
    except StopAsyncIteration:
        pass
    finally:
        with contextlib.suppress(RuntimeError):  # it is still inside a step that has been dropped
            _run(responses.aclose())


# Both


def strike_all(strike: Strike, subject: Starts | Handling, size: int) -> int:
    """Interrupt each act of `subject` `size` times; return how often an exception arrived."""
    moments = random.Random(SEED)
    raised = 0
    for act in subject.acts:
        for _ in range(size):
            try:
                raised += strike(act, moments.uniform(1e-6, 1e-4))
            except Interrupt:  # between the end of the act and that of strike()
                sys.settrace(None)
                raised += 1
            subject.look(act)
    return raised


@contextmanager
def usual(kind: Any) -> Iterator[None]:
    """Have the compiled core, if there is one, take calls of a `kind` for grpcio's own."""
    compiled = core_which.compiled()
    if compiled is not None:
        compiled.tell({"usual_call": kind})
    try:
        yield
    finally:
        if compiled is not None:
            compiled.tell({"usual_call": sync_calls.USUAL})


def starts_struck(strike: Strike, size: int) -> tuple[int, Counter[str]]:
    """Interrupt the starts of both apis; return how often, and what was left."""
    with usual(_Call), grpc.insecure_channel("127.0.0.1:1") as channel:
        subject = Starts(channel)
        raised, left = strike_all(strike, subject, size), subject.left

    async def on_loop() -> tuple[int, Counter[str]]:
        async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
            subject = Starts(channel, asyncio.get_running_loop())
            return strike_all(strike, subject, size), subject.left

    raised_on_loop, left_on_loop = asyncio.run(on_loop())
    return raised + raised_on_loop, left + left_on_loop


def handlers_struck(strike: Strike, size: int) -> tuple[int, Counter[str]]:
    """Interrupt the handlers of both apis; return how often, and what was left."""
    subject = Handling(is_async=False)
    raised, left = strike_all(strike, subject, size), subject.left

    async def on_loop() -> tuple[int, Counter[str]]:
        sys.set_asyncgen_hooks(None, None)  # else the loop closes those that are dropped, later
        subject = Handling(is_async=True)
        return strike_all(strike, subject, size), subject.left

    raised_on_loop, left_on_loop = asyncio.run(on_loop())
    return raised + raised_on_loop, left + left_on_loop
