"""The record of a stream, its directions, whose loop they live on, and what feeds them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import sys
import threading
import traceback
import types
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from inside import (
    AioDirection,
    Stream,
    Way,
    aio_calls,
    aio_channels,
    aio_given,
    aio_messages,
    aio_requests,
    bind,
    core_fields,
    core_stream,
    extras,
    feeds,
    forks,
    loop_thread_of,
    parse_mode,
    steps,
    sync_calls,
    sync_channels,
    totals,
)
from support.forking import in_child
from support.staging import (
    AsyncGate,
    Gate,
    in_thread,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
)

import grpc_guard
from grpc_guard import ConcurrencyError, Mode


class Thing:
    """Something that can be held weakly."""


def sync_stream(mode: Mode = Mode.RAISE) -> Stream:
    return Stream("/test.Guard/Stream", "client", "sync", mode)


# Whether an RPC is over


def test_stream_that_follows_nothing() -> None:
    """An RPC of which nothing is known is not over until it is said to have ended."""
    stream = sync_stream()
    assert not stream.is_over()
    assert not stream.is_open()
    stream.ended = True
    assert stream.is_over()


def test_stream_that_follows_a_call() -> None:
    """An RPC is over when its call says so."""
    call, over = Thing(), [False]
    stream = sync_stream()
    stream.track_call(call, lambda asked: asked is call and over[0])
    assert not stream.is_over()
    assert stream.is_open()
    over[0] = True
    assert stream.is_over()
    assert not stream.is_open()


def test_stream_whose_call_is_gone() -> None:
    """An RPC whose call was dropped is over, and it was not the guard that held the call."""
    call = Thing()
    stream = sync_stream()
    stream.track_call(call, lambda asked: False)
    reference = weakref.ref(call)
    del call
    assert reference() is None
    assert stream.is_over()


def test_stream_that_follows_what_cannot_be_held_weakly() -> None:
    """An interceptor's own kind of call that cannot be held weakly is never known to be over."""
    stream = sync_stream()
    stream.track_call((), lambda asked: True)
    assert not stream.is_over()


# Directions


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN, Mode.SERIALIZE])
def test_direction_is_free(mode: Mode) -> None:
    """A direction is free but during an operation."""

    class Plain:
        def __next__(self) -> bool:
            return direction.is_free

        def is_active(self) -> bool:
            return True

    call: Any = sync_calls.responses_of(Plain(), sync_stream(mode))
    direction = call._self_read
    assert direction.is_free
    assert next(call) is False
    assert direction.is_free


def test_directions_are_held_by_their_proxies_alone() -> None:
    """An object that the user gave to a stream dies with its proxy, without the collector."""
    requests: Iterator[bytes] = iter(list[bytes]())
    plain = type("Requests", (), {"__next__": lambda self: next(requests)})()
    stream = sync_stream()
    proxy = sync_calls.requests_of(plain, stream)
    assert stream.write is not None
    reference = weakref.ref(plain)
    gc.disable()
    try:
        del plain, proxy
        assert reference() is None
        assert stream.write is None
    finally:
        gc.enable()


def test_conflict_keeps_nothing_alive() -> None:
    """A finding keeps neither the call nor the locals of owner and caller alive."""
    gate = Gate()
    things: list[weakref.ref[Any]] = []

    class Plain:
        def __next__(self) -> None:
            gate.park()

        def is_active(self) -> bool:
            return True

    def use(call: Any) -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        next(call)

    def report_conflict() -> None:
        plain = Plain()
        things.append(weakref.ref(plain))
        call = sync_calls.responses_of(plain, sync_stream())
        owner = in_thread(use, call)
        with gate.held(), pytest.raises(ConcurrencyError):
            use(call)
        owner.result()

    gc.collect()
    gc.disable()
    try:
        report_conflict()
        assert [thing() for thing in things] == [None, None, None]
    finally:
        gc.enable()
    grpc_guard.clear_findings()


def test_generator_of_a_cancelled_handler() -> None:
    """The finally block of a handler runs when its client cancels, not at the next collection."""
    closed = threading.Event()

    def count(request: bytes, context: Any) -> Iterator[bytes]:
        gone = threading.Event()
        context.add_callback(gone.set)
        try:
            yield b"the client reads this"
            wait(gone)
            yield b"and is gone now"
        finally:
            closed.set()

    gc.collect()
    gc.disable()
    try:
        with (
            sync_server({"Count": grpc.unary_stream_rpc_method_handler(count)}) as address,
            sync_channel(address) as channel,
        ):
            call = channel.unary_stream(path("Count"))(b"")
            next(call)
            call.cancel()
            wait(closed)
    finally:
        gc.enable()


def test_interrupted_construction_is_finalised_in_silence() -> None:
    """What counts for a direction, and of which nothing is set yet, can be finalised."""
    extras.Extra.__new__(extras.Extra).__del__()


@pytest.mark.parametrize("value", ["on", "", "ON", "1"])
def test_bad_mode(value: str) -> None:
    """A bad mode is refused with its source, the value, and the choices."""
    with pytest.raises(ValueError, match="is not a mode") as caught:
        parse_mode(value, source="GRPC_GUARD")
    assert str(caught.value) == (
        f"GRPC_GUARD: {value!r} is not a mode; use off, raise, warn or serialize"
    )


# Counting


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_fields, "counting", False)
    core_stream.start_counting()


def use(operations: int) -> Any:
    call: Any = sync_calls.responses_of(
        type("Plain", (), {"__next__": lambda self: None})(), sync_stream()
    )
    for _ in range(operations):
        next(call)
    return call


def test_counting(counting: None) -> None:
    """Streams and their operations are counted, those of streams that are gone too."""
    streams, operations = totals()
    call = use(3)
    assert call._self_read.operations == 3
    assert totals() == (streams + 1, operations + 3)
    del call
    assert totals() == (streams + 1, operations + 3)


def test_counting_of_many_streams(counting: None) -> None:
    """The counts of streams that are gone are summed up, and none is lost."""
    streams, operations = totals()
    for _ in range(2 * extras._RETIRED):
        use(1)
    assert totals() == (streams + 2 * extras._RETIRED, operations + 2 * extras._RETIRED)
    assert len(extras._retired) <= extras._RETIRED


def test_counting_of_streams_that_go_at_the_same_time(
    counting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finalisers of several threads may step over the bound together; the next one sums up."""
    monkeypatch.setattr(extras, "_retired", deque([1] * (extras._RETIRED + 1)))
    _, operations = totals()
    use(1)
    assert totals()[1] == operations + 1
    assert len(extras._retired) <= extras._RETIRED


def test_no_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a report that shows them, operations are not counted."""
    monkeypatch.setattr(core_fields, "counting", False)
    assert use(3)._self_read.operations == 0


def test_counting_walks_no_heap(counting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting costs what the streams that live cost, and asks nothing of the program's objects."""
    calls = [use(3), use(2)]
    monkeypatch.setattr(gc, "get_objects", None)
    before = totals()
    del calls
    assert totals() == before


def test_counting_in_a_forked_child(counting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child counts its own streams; what becomes of those that it inherits is the parent's."""
    call = use(3)
    monkeypatch.setattr(forks, "_inherited", [])
    monkeypatch.setattr(extras, "_live", extras._live.copy())
    monkeypatch.setattr(extras, "_retired", extras._retired.copy())
    monkeypatch.setattr(core_fields, "created", None)
    extras._start_again()
    core_stream._start_again()
    assert totals() == (0, 0)
    del call
    assert totals() == (0, 0)
    use(2)
    assert totals() == (1, 2)


# Loops


class Silent(asyncio.SelectorEventLoop):
    """A loop that hides which thread runs it, as uvloop's do."""

    _kept: int | None = None

    @property
    def _thread_id(self) -> int | None:
        if not sys._getframe(1).f_globals["__name__"].startswith("asyncio."):
            raise AttributeError("_thread_id")
        return self._kept

    @_thread_id.setter
    def _thread_id(self, value: int | None) -> None:
        self._kept = value


class Stale(asyncio.SelectorEventLoop):
    """A loop that inherits the attribute and does not keep it, as Qt's."""

    @property
    def _thread_id(self) -> None:
        return None

    @_thread_id.setter
    def _thread_id(self, value: int | None) -> None:
        pass


def uvloop_loop() -> asyncio.AbstractEventLoop:
    uvloop = pytest.importorskip("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


LOOPS = pytest.mark.parametrize("make", [asyncio.SelectorEventLoop, Silent, Stale, uvloop_loop])


class Plain:
    """An asyncio stream whose reads complete."""

    async def read(self) -> bytes:
        return b"message"

    async def write(self, message: bytes) -> None:
        pass

    async def done_writing(self) -> None:
        pass

    def done(self) -> bool:
        return False


@LOOPS
def test_operation_on_its_own_loop(make: Any) -> None:
    """An operation on its own loop is not a finding, whatever the loop tells about its thread."""
    loop = make()
    try:
        call = aio_calls.DuplexCall(Plain(), Stream("/x", "client", "aio", Mode.RAISE, loop))
        assert loop.run_until_complete(call.read()) == b"message"
        loop.run_until_complete(call.write(b"message"))
    finally:
        loop.close()


@LOOPS
def test_operation_on_another_loop(make: Any, found: Any) -> None:
    """An operation on a loop other than its own is refused, whatever the loops tell."""
    own, other = make(), asyncio.new_event_loop()
    try:
        call = aio_calls.DuplexCall(Plain(), Stream("/x", "client", "aio", Mode.RAISE, own))
        with pytest.raises(ConcurrencyError) as caught:
            other.run_until_complete(call.read())
        assert caught.value.finding.rule == "wrong-loop"
    finally:
        own.close()
        other.close()
    assert len(found()) == 1


def test_operation_without_a_loop(found: Any) -> None:
    """A coroutine that is driven while no loop runs is refused."""
    loop = asyncio.new_event_loop()
    call = aio_calls.DuplexCall(Plain(), Stream("/x", "client", "aio", Mode.RAISE, loop))
    with pytest.raises(ConcurrencyError, match="it runs on no event loop than"):
        call.read().send(None)
    loop.close()
    found()


async def numbered() -> AsyncIterator[bytes]:
    yield b"1"


def messages(plain: Any, stream: Stream) -> Any:
    return aio_messages.Messages(numbered(), stream, AioDirection(stream, Way.READ, plain.read))


@pytest.mark.parametrize("other", [-1, 1])
@pytest.mark.parametrize(
    ("make", "name", "arguments"),
    [
        (aio_calls.DuplexCall, "read", ()),
        (aio_calls.DuplexCall, "write", (b"1",)),
        (aio_calls.DuplexCall, "done_writing", ()),
        (aio_calls.QueuedDuplexCall, "write", (b"1",)),
        (aio_given.Context, "read", ()),
        (aio_given.Context, "write", (b"1",)),
        (messages, "__anext__", ()),
        (messages, "asend", (None,)),
    ],
)
def test_operation_of_another_thread(
    make: Any, name: str, arguments: tuple[Any, ...], other: int, found: Any
) -> None:
    """It is refused, whichever ident the thread has that runs the loop."""
    loop: Any = types.SimpleNamespace(
        _thread_id=threading.get_ident() + other,
        is_running=lambda: True,
        is_closed=lambda: False,
    )
    guarded = make(Plain(), Stream("/x", "client", "aio", Mode.RAISE, loop))
    with pytest.raises(ConcurrencyError, match="^wrong-loop: "):
        getattr(guarded, name)(*arguments).send(None)
    found()


def test_home_of_a_loop_that_says_nothing() -> None:
    """If a loop does not tell which thread runs it, the guard checks whether it runs here."""
    loop = Silent()
    loop_thread = loop_thread_of(loop)
    assert loop_thread is not loop
    assert loop_thread._thread_id is None

    async def inside() -> int | None:
        thread: int | None = loop_thread._thread_id
        return thread

    assert loop.run_until_complete(inside()) == threading.get_ident()
    loop.close()


# What feeds a stream


def numbers() -> Iterator[int]:
    yield 1


async def async_numbers() -> AsyncIterator[int]:
    yield 1


def test_generator_of_two_live_streams(found: Any) -> None:
    """A generator that feeds a live RPC is refused to another; the finding names both."""
    shared, first, second = numbers(), sync_stream(), sync_stream()
    bind(shared, first, "next(request_iterator)")
    bind(shared, first, "next(request_iterator)")  # the same RPC
    with pytest.raises(ConcurrencyError) as caught:
        bind(shared, second, "next(request_iterator)")
    assert caught.value.finding.message == (
        "shared-iterator: next(request_iterator) by thread 'MainThread' on /test.Guard/Stream "
        "(client, sync) refused: generator 'numbers' already feeds a live RPC, /test.Guard/Stream"
    )
    assert caught.value.finding.owner is None
    assert len(found()) == 1


def test_generator_that_only_a_refusal_holds(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """It is forgotten when the refusal is, and nobody complains; unittest clears the frames."""
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    gc.collect()
    before = len(feeds.known)

    def refused() -> ConcurrencyError:
        shared, first = numbers(), sync_stream()
        bind(shared, first, "next(request_iterator)")
        with pytest.raises(ConcurrencyError) as caught:
            bind(shared, sync_stream(), "next(request_iterator)")
        return caught.value

    for forget in (traceback.clear_frames, lambda _: None):
        error = refused()
        assert len(feeds.known) == before + 1
        forget(error.__traceback__)
        del error
        gc.collect()
        assert len(feeds.known) == before
    assert complaints == []
    found()


def test_generator_that_is_being_advanced(found: Any) -> None:
    """The finding names who advances the shared generator at this moment."""
    gate = Gate()

    def parked() -> Iterator[int]:
        gate.park()
        yield 1

    shared, stream = parked(), sync_stream()
    requests: Any = sync_calls.guard_requests(shared, stream)
    owner = in_thread(next, requests, name="sender")
    with gate.held(), pytest.raises(ConcurrencyError) as caught:
        sync_calls.guard_requests(shared, sync_stream())
    assert owner.result() == 1
    told = caught.value.finding.owner
    assert told is not None
    assert (told.name, told.operation) == ("sender", "next(request_iterator)")
    assert told.site is not None
    found()


def test_shared_generator_in_serialize(found: Any) -> None:
    """No waiting heals a shared generator: serialize refuses it too."""
    shared, first = async_numbers(), sync_stream(Mode.SERIALIZE)
    bind(shared, first, "anext(request_iterator)")
    with pytest.raises(ConcurrencyError, match="refused: generator 'async_numbers'"):
        bind(shared, sync_stream(Mode.SERIALIZE), "anext(request_iterator)")
    found()


def test_shared_generator_in_warn(found: Any) -> None:
    """In mode warn a shared generator is recorded and let through."""
    shared, first = numbers(), sync_stream(Mode.WARN)
    bind(shared, first, "next(request_iterator)")
    bind(shared, sync_stream(Mode.WARN), "next(request_iterator)")
    assert [finding.rule for finding in found()] == ["shared-iterator"]


def test_generator_of_a_stream_that_has_ended() -> None:
    """A generator may feed another RPC when the first has ended, or is gone."""
    shared = numbers()
    first = sync_stream()
    bind(shared, first, "next")
    first.ended = True
    bind(shared, sync_stream(), "next")  # gone at once
    bind(shared, sync_stream(), "next")


class InterruptError(Exception):
    """What a signal handler raises."""


def interrupt(*args: Any) -> None:
    raise InterruptError


@pytest.mark.parametrize(
    ("channels", "making", "requests"),
    [
        (sync_channels, (sync_calls, "requests_of"), numbers),
        (aio_channels, (aio_requests.AsyncRequestIterator, "__init__"), numbered),
    ],
)
def test_generator_of_a_start_that_was_interrupted(
    channels: Any, making: Any, requests: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may feed the next attempt, though the first one still has its stream."""
    shared = requests()
    start = inspect.unwrap(channels.start_stream_stream)
    with monkeypatch.context() as patch, pytest.raises(InterruptError) as caught:
        patch.setattr(*making, interrupt)
        start(None, None, "/a/b", Mode.RAISE, shared)
    bind(shared, sync_stream(), "next")
    assert caught.tb, "its frames have the stream"


def test_iterator_that_may_be_shared() -> None:
    """An iterator that is no generator may feed many RPCs."""
    shared, first, second = iter([1, 2]), sync_stream(), sync_stream()
    bind(shared, first, "next")
    bind(shared, second, "next")


def test_requests_that_are_guarded_already() -> None:
    """Requests that come through two guards, as from a proxy's server to its client, have one."""
    stream = sync_stream()
    once = sync_calls.guard_requests(numbers(), stream)
    assert sync_calls.guard_requests(once, sync_stream()) is once
    once = aio_requests.guard_requests(numbers(), stream)
    assert aio_requests.guard_requests(once, sync_stream()) is once
    call = sync_calls.guard_future(_Future(), stream)
    assert sync_calls.guard_future(call, sync_stream()) is call


class _Future:
    """What a channel of the application's own returns for a stream-unary RPC."""

    def add_done_callback(self, callback: object) -> None:
        raise NotImplementedError


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_fork_beside_a_thread_that_binds() -> None:
    """A forked child binds generators, though another thread of its parent was about to."""
    gate = Gate()

    def hold() -> None:
        with feeds._mutex:
            gate.park()

    generator, stream = numbers(), sync_stream()
    bind(generator, stream, "next")  # only from the second time on is the lock taken
    holder = in_thread(hold)
    with gate.held():
        assert in_child(lambda: repr(bind(generator, stream, "next"))) == "None"
    holder.result()


# Nothing else is left of an operation


async def test_asyncio_operation_that_is_refused(found: Any) -> None:
    """A refused task leaves the owner's operation and the next one as they are."""
    gate = AsyncGate()
    plain: Any = types.SimpleNamespace(read=gate.park, write=None, done=lambda: False)
    loop = asyncio.get_running_loop()
    call = aio_calls.DuplexCall(plain, Stream("/x", "client", "aio", Mode.RAISE, loop))
    owner = asyncio.create_task(call.read())
    await settle()
    with pytest.raises(ConcurrencyError):
        await call.read()
    gate.open()
    assert await owner is None
    assert await call.read() is None
    found()


def test_way_of_a_direction() -> None:
    """A direction knows which way its messages go."""
    stream = sync_stream()
    assert AioDirection(stream, Way.READ, next).way == "read"
    assert AioDirection(stream, Way.WRITE, next).way == "write"
    kinds = {kind: kind(stream, iter(())).way for kind in steps.SyncDirection.__subclasses__()}
    assert {kind.__name__: str(way) for kind, way in kinds.items()} == {
        "Responses": "read",
        "Requests": "read",
        "ClientRequests": "write",
        "HandlerResponses": "write",
        "SentResponses": "write",
    }
