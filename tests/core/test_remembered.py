"""What the compiled core remembers of classes, loops and streams, while those change: as Python finds it."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from time import monotonic
from typing import Any
from unittest import mock

import grpc.aio
import pytest
from inside import (
    Mode,
    Stream,
    aio_calls,
    aio_channel,
    always,
    core_which,
    forks,
    lifecycle_channels,
)
from support.operating import MESSAGE, Plain
from support.staging import PATIENCE

import grpc_guard

compiled: Any = core_which.compiled()
needs_compiled = pytest.mark.skipif(compiled is None, reason="needs the compiled core")


def duplex(plain: Any) -> Any:
    stream = Stream("/test/Remembered", "client", "aio", Mode.RAISE, asyncio.get_running_loop())  # type: ignore[arg-type]
    return aio_calls.DuplexCall(plain, stream)


async def other() -> bytes:
    return b"other"


@needs_compiled
async def test_a_step_that_is_replaced() -> None:
    """A method that the program puts into a call, or into its class, does the step from then on."""

    class Replaced(Plain):
        async def write(self, message: bytes) -> bytes:  # type: ignore[override]
            return message

        async def done_writing(self) -> bytes:  # type: ignore[override]
            return b"done"

    calls = [duplex(Replaced()) for _ in range(3)]
    for call in calls:
        assert await call.read() == MESSAGE
        assert [await call.write(b"1"), await call.done_writing(), await call.write(b"2")] == [
            b"1",
            b"done",
            b"2",
        ]
    calls[0].__wrapped__.read = other
    assert vars(calls[1].__wrapped__)  # from here on its attributes are in a dict
    assert [await call.read() for call in calls] == [b"other", MESSAGE, MESSAGE]
    Replaced.read = lambda self: other()  # type: ignore[method-assign]
    assert [await call.read() for call in calls] == [b"other"] * 3


class Generating(Plain):
    """A call whose messages come from a generator, as those of grpcio do."""

    def __aiter__(self) -> Any:
        return self._messages

    def __init__(self) -> None:
        super().__init__()
        self._messages = self._generate()

    async def _generate(self) -> Any:
        yield MESSAGE
        yield MESSAGE


async def test_special_methods_that_are_replaced() -> None:
    """mock.patch.object(type(call), ...) replaces `async for` and its steps, for as long as it lasts."""
    call = duplex(Generating())
    messages = aiter(call)
    with mock.patch.object(type(call), "__aiter__", return_value=iter("replaced")):
        with pytest.raises(TypeError, match="str_"):
            aiter(call)
    with mock.patch.object(type(messages), "__anext__", side_effect=other):
        assert await anext(messages) == b"other"
    assert aiter(call) is messages
    assert [message async for message in call] == [MESSAGE, MESSAGE]


@needs_compiled
def test_classes_without_methods_in_c() -> None:
    """A class that has none of them is left as it is."""
    usual = type("Usual", (), {"__aiter__": lambda self: self, "__anext__": lambda self: other()})
    assert not compiled.iterates_by_slot(usual)
    assert not compiled.iterates_by_slot(type("Bare", (), {}))
    for wrong in (7, int):
        with pytest.raises(TypeError, match="a class in Python"):
            compiled.iterates_by_slot(wrong)


class Looking(Plain):
    """A call that looks at the direction which is claimed for its step."""

    direction: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    async def read(self) -> bytes:
        self.seen.append(self.direction.since)
        return MESSAGE

    async def write(self, message: bytes) -> None:
        pass


async def test_when_an_operation_began() -> None:
    """The time of an operation is that of its claim, whoever asks, and whether it waits or not."""
    waiting, looking = duplex(Plain()), duplex(Looking())
    began = monotonic()
    reading = asyncio.ensure_future(waiting.read())
    await asyncio.sleep(0)
    assert began <= waiting._self_read.since <= monotonic()
    await reading
    looking.__wrapped__.direction = looking._self_read
    await looking.read()
    assert began <= looking.__wrapped__.seen[0] <= monotonic()
    await looking.write(MESSAGE)
    direction = looking._self_write
    assert began - 0.1 <= direction.since <= monotonic()  # one that did not wait: up to a tick ago
    direction.since = 7
    assert direction.since == 7.0


@needs_compiled
async def test_what_is_no_time() -> None:
    """The time of a direction is a number."""
    direction = duplex(Plain())._self_read
    with pytest.raises(TypeError):
        direction.since = "now"
    with pytest.raises(TypeError, match="since is a number"):
        del direction.since


async def test_directions_that_are_gone() -> None:
    """A stream knows that it had a reader and a writer when the program has dropped the call."""
    call = duplex(Plain())
    stream = call._self_stream
    assert (stream.read, stream.write) == (call._self_read, call._self_write)
    again = aio_calls.DuplexCall(call.__wrapped__, stream)
    del call
    gc.collect()
    assert (stream.read, stream.write) == (again._self_read, again._self_write)
    del again
    gc.collect()
    assert stream.read is stream.write is None
    assert stream._read is not None
    assert stream._write is not None


async def test_a_direction_that_dies_in_a_cycle() -> None:
    """The collector may clear a direction before it dies: its stream gives it out no more."""
    plain = Plain()
    call = duplex(plain)
    stream, gone = call._self_stream, weakref.ref(call._self_read)
    plain.cycle = call  # type: ignore[attr-defined]
    del call, plain
    gc.collect()
    assert gone() is None
    assert stream.read is None


@needs_compiled
async def test_a_direction_that_gets_another_stream() -> None:
    """The stream that it had forgets it."""
    call = duplex(Plain())
    direction, first = call._self_read, call._self_stream
    stream = Stream("/test/Other", "client", "aio", Mode.RAISE, asyncio.get_running_loop())  # type: ignore[arg-type]
    direction.__init__(stream, "read", other)
    assert first.read is None
    assert first.write is call._self_write


class Started:
    """A plain multi-callable: it returns what it was called with."""

    def __init__(self, loop: Any) -> None:
        self._loop, self._channel = loop, None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


async def test_calls_of_a_multi_callable() -> None:
    """Its arguments come through as they are, in whatever way it is called and whatever its mode."""
    loop = asyncio.get_running_loop()
    modes = iter((Mode.RAISE, Mode.OFF, Mode.WARN) * 3)
    ways = [always(Mode.RAISE), lambda: next(modes), *(always(Mode.WARN) for _ in range(6))]
    for choose in ways:
        unary = aio_channel.UnaryUnary(Started(loop), "/test/Unary", choose)
        for start in (unary, type(unary).__call__.__get__(unary), unary.__call__):
            assert start(1, timeout=2) == ((1,), {"timeout": 2})


async def test_the_loop_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another loop on the same thread, another thread, and none at all: each is told apart."""
    loop = asyncio.get_running_loop()
    unary = aio_channel.UnaryUnary(Started(loop), "/test/Unary", always(Mode.RAISE))
    refused: list[Any] = []

    def start() -> None:
        try:
            unary(1)
        except grpc_guard.ConcurrencyError as error:
            refused.append(type(error))

    async def start_here() -> None:
        start()

    def start_elsewhere() -> None:
        asyncio.run(start_here())
        start()

    for _ in range(2):
        start()
        assert refused == []
        thread = threading.Thread(target=start_elsewhere)
        thread.start()
        await asyncio.wait_for(asyncio.to_thread(thread.join, PATIENCE), PATIENCE)
        assert len(refused) == 2
        refused.clear()
    monkeypatch.setattr(forks, "generation", forks.generation)
    forks._after_fork()  # what is remembered of loops is forgotten
    start()
    assert refused == []


async def test_streams_that_are_over_leave_their_channel() -> None:
    """One that is open stays, and so does each behind it until all are sorted out."""
    async with grpc_guard.wrap(grpc.aio.insecure_channel("127.0.0.1:1")) as channel:
        start = channel.stream_stream("/test/Stream")
        life = lifecycle_channels.life_of(start)
        assert life is not None
        first = start()
        for _ in range(3):
            start().cancel()
        assert life.streams[0] is first._self_stream
        first._self_stream.ended = True
        count = len(life.streams)
        last = start()
        assert len(life.streams) <= count + 1
        assert life.streams[-1] is last._self_stream
        assert life.sorted_out()[-1] is last._self_stream
