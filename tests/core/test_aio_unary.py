"""Both ends of a unary RPC of asyncio where all is as it was at the last one, and where something is not."""

from __future__ import annotations

import asyncio
import inspect
import operator
import weakref
from collections.abc import Callable
from types import CoroutineType
from typing import Any

import pytest
from inside import Handlers, Mode, aio_channel, aio_handlers, always
from support.forking import in_child
from support.operating import Plain

import grpc_guard

RPC = "/test/Unary"
RECORDS = Handlers(None)
AS_GRPC_DOES: Callable[..., Any] = operator.call  # from C


async def handle(request: Any, context: Any) -> Any:
    """Wait if the request is one to wait for; return it, and what is in flight meanwhile."""
    if isinstance(request, asyncio.Event):
        await request.wait()
    return request, len(list(RECORDS.of_tasks()))


def guarded() -> Any:
    return aio_handlers.guard_behavior(
        handle, RPC, always(Mode.RAISE), False, False, handlers=RECORDS
    )


async def test_runs_one_after_the_other() -> None:
    """Each is as new, whatever was done with the last one."""
    handler = guarded()
    for number in range(4):
        run = AS_GRPC_DOES(handler, number, Plain())
        gone = weakref.ref(run)
        assert (run.__name__, run.__qualname__) == ("handle", "handle")
        assert inspect.getcoroutinestate(run) == "CORO_CREATED"
        run.__name__ = run.__qualname__ = f"run {number}"
        assert await run == (number, 1)
        assert inspect.getcoroutinestate(run) == "CORO_CLOSED"
        del run
        assert gone() is None
    assert list(RECORDS.of_tasks()) == []


async def test_runs_beside_each_other() -> None:
    """More of them than are kept: each has its own task and request, and none is left."""
    handler, event = guarded(), asyncio.Event()
    for _ in range(2):
        tasks = [asyncio.create_task(AS_GRPC_DOES(handler, event, Plain())) for _ in range(70)]
        await asyncio.sleep(0)
        assert {entry.task() for entry in RECORDS.of_tasks()} == set(tasks)
        tasks[3].cancel()
        event.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answer[0] for answer in done if isinstance(answer, tuple)] == [event] * 69
        assert isinstance(done[3], asyncio.CancelledError)
        assert list(RECORDS.of_tasks()) == []
        event.clear()
    grpc_guard.clear_findings()


async def test_a_run_that_nobody_awaits() -> None:
    """Each of them warns, and the next one does what it should."""
    handler = guarded()
    for number in range(3):
        with pytest.warns(RuntimeWarning, match="coroutine 'handle' was never awaited"):
            AS_GRPC_DOES(handler, number, Plain())
        assert await AS_GRPC_DOES(handler, number, Plain()) == (number, 1)


async def test_a_handler_that_goes_while_it_runs() -> None:
    """What it needs stays until its run ends."""
    handler, event = guarded(), asyncio.Event()
    assert await AS_GRPC_DOES(handler, 1, Plain()) == (1, 1)
    task = asyncio.create_task(AS_GRPC_DOES(handler, event, Plain()))
    await asyncio.sleep(0)
    gone = weakref.ref(handler)
    del handler
    assert gone() is None
    assert [entry.what for entry in RECORDS.of_tasks()] == [RPC]
    event.set()
    assert await task == (event, 1)


async def test_a_handler_in_a_forked_child() -> None:
    """No loop runs there: the handler is called as it is, as after no fork."""
    handler = guarded()
    assert await AS_GRPC_DOES(handler, 1, Plain()) == (1, 1)

    def call() -> str:
        run = AS_GRPC_DOES(handler, 2, Plain())
        run.close()
        return type(run).__name__ if type(run) is CoroutineType else "guarded"

    assert in_child(call) == "coroutine"


class Starting:
    """A plain multi-callable of asyncio."""

    def __init__(self) -> None:
        self._loop: object = asyncio.get_running_loop()
        self._channel = Plain()
        self.calls: list[Any] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls.append((args, kwargs))
        return len(self.calls)


def started(plain: Starting, mode: Mode = Mode.RAISE) -> Any:
    return aio_channel.UnaryUnary(plain, RPC, always(mode))


async def test_starts_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each calls the plain object as it is then, with the same arguments."""
    plain = Starting()
    proxy = started(plain)
    for number in range(1, 4):
        assert proxy(number, timeout=2) == number
    assert plain.calls == [((number,), {"timeout": 2}) for number in range(1, 4)]
    assert started(plain)(*range(9)) == 4
    assert started(plain, Mode.OFF)(1) == 5
    monkeypatch.setattr(Starting, "__call__", lambda self, request: ("replaced", request))
    assert proxy(1) == ("replaced", 1)
    with pytest.raises(TypeError):
        proxy(1, timeout=2)
    with grpc_guard.guarded():
        assert proxy(1) == ("replaced", 1)
    assert proxy(2) == ("replaced", 2)


async def test_a_start_from_another_loop() -> None:
    """It is refused, however often it was none, and the next one of its own loop is not."""
    plain = Starting()
    proxy = started(plain)
    assert [proxy(), proxy()] == [1, 2]
    with pytest.raises(grpc_guard.ConcurrencyError, match="loop"):
        await asyncio.to_thread(asyncio.run, _call(proxy))
    plain._loop, own = object(), plain._loop
    with pytest.raises(grpc_guard.ConcurrencyError, match="loop"):
        proxy()
    plain._loop = own
    assert proxy() == 3
    grpc_guard.clear_findings()


async def _call(proxy: Any) -> Any:
    return proxy()


class Late(int):
    """What an interceptor's own call looks like."""

    _interceptors_task = None


async def test_a_call_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at, and so is an error that is no refusal: both come through."""
    proxy = started(Starting())
    assert [proxy(), proxy()] == [1, 2]
    monkeypatch.setattr(Starting, "__call__", lambda self: Late(7))
    assert type(proxy()) is Late

    def fail(self: object) -> None:
        raise KeyError

    monkeypatch.setattr(Starting, "__call__", fail)
    for _ in range(2):
        with pytest.raises(KeyError):
            proxy()


def test_what_chooses_one_mode() -> None:
    """All channels of a mode share it, so that the core knows it again."""
    assert always(Mode.RAISE) is always(Mode.RAISE)
    assert {always(mode)() for mode in Mode} == set(Mode)
