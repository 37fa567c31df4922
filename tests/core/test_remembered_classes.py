"""What the compiled core remembers of many classes, and of those that change: as Python finds it."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import AsyncGenerator
from typing import Any
from unittest import mock

import pytest
from inside import (
    Handlers,
    Mode,
    Stream,
    aio_calls,
    aio_channel,
    aio_handlers,
    always,
    core_which,
    findings_origins,
)
from support.operating import MESSAGE, Plain

MANY = 70  # more than are remembered of anything


class Pause:
    """What a handler awaits: it suspends that once."""

    def __await__(self) -> Any:
        yield None


class Generating(Plain):
    """A call whose messages come from a generator, as those of grpcio do."""

    def __init__(self) -> None:
        super().__init__()
        self._messages = self._generate()

    def __aiter__(self) -> Any:
        return self._messages

    async def _generate(self) -> Any:
        yield MESSAGE

    async def write(self, message: bytes) -> None:
        pass


def duplex(plain: Any) -> Any:
    stream = Stream("/test/Classes", "client", "aio", Mode.RAISE, asyncio.get_running_loop())  # type: ignore[arg-type]
    return aio_calls.DuplexCall(plain, stream)


class Started:
    """A plain multi-callable, which starts a plain call."""

    def __init__(self) -> None:
        self._loop, self._channel = asyncio.get_running_loop(), None
        self.asked: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append((args, kwargs))
        return Generating()


def started() -> tuple[Any, Started]:
    plain = Started()
    return aio_channel.StreamStream(plain, "/test/Classes", always(Mode.RAISE)), plain


async def test_more_classes_than_are_remembered() -> None:
    """A proxy is of the class of what it wraps, and iterates as that does."""
    classes = [
        type(f"Generating{number}", (Generating,), {"number": number}) for number in range(MANY)
    ]
    for _ in range(3):
        for number, cls in enumerate(classes):
            call = duplex(cls())
            messages = aiter(call)
            assert aiter(call) is messages
            assert (isinstance(call, cls), call.number) == (True, number)
            assert [message async for message in messages] == [MESSAGE]
            assert type(call.__wrapped__) is cls


async def test_the_directions_of_a_call() -> None:
    """Both are of its loop, whichever of them is there when the other is made."""
    call = duplex(Generating())
    read, write = call._self_read, call._self_write
    assert read.loop_thread is write.loop_thread
    assert (read.way, write.way, read.stream) == ("read", "write", write.stream)
    assert (read.taken, write.taken) == (False, False)
    assert (read.owner, write.owner) == (None, None)


async def test_a_multi_callable_that_is_replaced() -> None:
    """The class of a multi-callable says what a call of it does, as it is now."""
    guarded, plain = started()
    for _ in range(2):
        assert isinstance(guarded(timeout=2), aio_calls.DuplexCall)
        assert isinstance(guarded(None, 3), aio_calls.DuplexCall)
    assert plain.asked == [((), {"timeout": 2}), ((None, 3), {})] * 2
    with mock.patch.object(Started, "__call__", side_effect=LookupError("replaced")) as replaced:
        with pytest.raises(LookupError, match="replaced"):
            guarded(timeout=2)
        assert replaced.call_args == mock.call(timeout=2)
    with mock.patch.object(Started, "__call__", staticmethod(Generating)):  # no function: a class
        assert [message async for message in guarded()] == [MESSAGE]
    plain.__call__ = None  # type: ignore[method-assign]  # which no call of an object looks at
    assert isinstance(guarded(*[None] * 9), aio_calls.DuplexCall)
    assert plain.asked[-1] == ((None,) * 9, {})


class Named(asyncio.Task[Any]):
    """A task with a name of its own."""

    def get_name(self) -> str:
        return "a name of its class"


async def test_the_name_of_a_task() -> None:
    """A start asks the task for its name, whatever answers."""
    loop = asyncio.get_running_loop()

    async def start() -> str:
        guarded, _ = started()
        return str(guarded()._self_stream.origin.name)

    for _ in range(2):
        assert await asyncio.create_task(start(), name="usual") == "usual"
        assert await Named(start(), loop=loop) == "a name of its class"
        task = asyncio.create_task(start(), name="usual")
        task.get_name = lambda: "its own name"  # type: ignore[method-assign]
        assert await task == "its own name"


class Nameless:
    """What the loop takes for its current task; the method is one in C, and of another class."""

    __slots__ = ()

    get_name = str.isupper


async def test_a_method_of_another_class() -> None:
    """Python refuses to call it for an object that is not of that class, and so does the compiled core: no name."""
    loop, task, other = asyncio.get_running_loop(), asyncio.current_task(), Nameless()
    compiled: Any = core_which.compiled()
    note = findings_origins.note_origin if compiled is None else compiled.note_origin
    assert task is not None
    for _ in range(2):  # from the second time on, the file is known to be of the program
        assert note("start").name == task.get_name()
    asyncio.tasks._leave_task(loop, task)
    asyncio.tasks._enter_task(loop, other)  # type: ignore[arg-type]
    try:
        for _ in range(2):
            assert note("start").name == "(a task without a name)"
    finally:
        asyncio.tasks._leave_task(loop, other)  # type: ignore[arg-type]
        asyncio.tasks._enter_task(loop, task)


class Context:
    """The plain context of a handler."""

    def done(self) -> bool:
        return False

    def add_done_callback(self, callback: Any) -> None:
        pass

    def write(self, message: bytes) -> None:
        pass

    read = write


class Witness:
    """What is gone when all that is garbage with it is."""


async def test_a_step_that_the_collector_finds() -> None:
    """What gRPC awaits for a message may be garbage with the handler that waits in it."""

    async def handle(request: list[Any], context: Any) -> AsyncGenerator[bytes, None]:
        await Pause()
        yield b"%d" % len(request)

    handler = aio_handlers.guard_behavior(
        handle, "/test/Classes", always(Mode.RAISE), False, True, handlers=Handlers(None)
    )
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)  # the loop closes none that is dropped
    try:
        for _ in range(3):
            held: list[Any] = [Witness()]
            gone = weakref.ref(held[0])
            step = handler(held, Context()).__anext__()
            assert step.send(None) is None
            held.append(step)
            del step, held
            gc.collect()
            assert gone() is None
            made = handler([], Context())
            assert await anext(made) == b"0"
            await made.aclose()
    finally:
        sys.set_asyncgen_hooks(*hooks)
