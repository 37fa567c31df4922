"""Operations of asyncio done in C beside those done in Python: they do the same, driven in the same way."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import types
import warnings
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import (
    Mode,
    Stream,
    aio_calls,
    aio_given,
    core_fields,
    core_which,
    guard_roles,
    last_owner_of,
    owner_of,
)
from support.operating import MESSAGE, Plain, suspend
from support.staging import run, settle

import grpc_guard

if core_which.compiled() is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

Operate = Callable[[], Any]


@pytest.fixture(autouse=True)
def nobody_counts_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the compiled core do the operations, whatever an earlier test has switched on."""
    monkeypatch.setattr(core_fields, "counting", False)


class Staged(Plain):
    """Stands below the proxies: each step waits until it is answered."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[bytes]] = []
        self.is_cancelled = False

    def cancelled(self) -> bool:
        return self.is_cancelled

    async def read(self) -> bytes:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        return await future

    __anext__ = read


class Pair:
    """A client call, or the context and the requests of a handler, and how to operate them."""

    def __init__(self, side: str, mode: Mode, *, in_c: bool) -> None:
        self.plain = Staged()
        loop = asyncio.get_running_loop()
        self.stream = Stream("/test/Operations", side, "aio", mode, loop)  # type: ignore[arg-type]
        guard: Any = aio_calls.DuplexCall if side == "client" else aio_given.Context
        proxy = self.proxy = guard(self.plain, self.stream)
        self.directions = [proxy._self_read, proxy._self_write]
        if side == "client":
            reader = proxy
        else:
            reader = aio_given.RequestIterator(self.plain, self.stream, proxy._self_read)
        self.messages = reader.__aiter__()
        methods = [proxy.read, self.messages.__anext__, proxy.write]
        if not in_c:
            methods = [method.__func__.__get__(method.__self__) for method in methods]
        read, anext_, write = methods
        self.operate: list[Operate] = [read, anext_, functools.partial(write, MESSAGE)]
        is_python = not in_c or mode is Mode.SERIALIZE
        for operate in self.operate:
            operation = operate()
            operation.close()
            assert (type(operation) is types.CoroutineType) == is_python


ACTS = (
    *("ask", "ask", "task", "task", "task", "party", "party", "turn", "answer", "answer"),
    *("fail", "end by a cancellation", "cancel", "cancel", "cancel the RPC", "end"),
    *("close", "send", "throw", "exit", "drop"),
)
steps = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 5)), max_size=30)


def outcome(act: Callable[..., Any], *args: Any) -> Any:
    try:
        result = act(*args)
    except BaseException as error:
        return _told(error)
    return "future" if isinstance(result, asyncio.Future) else result


def _told(error: BaseException) -> Any:
    if isinstance(error, StopIteration):
        return "result", error.value
    told = type(error).__name__, "" if hasattr(error, "finding") else str(error)
    return (*told, error.__cause__ and _told(error.__cause__))


def _of_party(owner: Any) -> Any:
    """Return what is reported of a party, without the line that asked: only an operation in C has it."""
    if owner is None:
        return None
    if owner.name == "(not found)":
        return owner.name
    is_awaited = owner.stack and owner.relation in ("inside", "awaited-by")
    frames = [(frame.function, frame.line) for frame in owner.stack] if is_awaited else None
    return owner.kind, owner.name, owner.operation, frames


async def party(operation: Any) -> Any:
    return await operation


async def play(schedule: list[tuple[str, int]], side: str, mode: Mode, *, in_c: bool) -> list[Any]:
    """Return all that can be seen of the operations while the schedule is played."""
    pair = Pair(side, mode, in_c=in_c)
    made: list[Any] = []
    tasks: list[asyncio.Task[Any]] = []
    log: list[Any] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for act, number in schedule:
            if act == "ask":
                made.append(pair.operate[number % 3]())
            elif act == "turn":
                await settle()
            elif act == "end":
                pair.stream.ended = True
            elif act == "cancel the RPC":
                pair.plain.is_cancelled = True
            elif act in ("answer", "fail", "end by a cancellation"):
                _answer(pair.plain, act)
            elif act == "cancel":
                for task in tasks[number : number + 1]:
                    task.cancel()
            elif made:
                log.append(_do(act, made, number % len(made), tasks))
            log.append([direction.taken for direction in pair.directions])
            await asyncio.sleep(0)
        for operation in made:
            log.append(outcome(operation.close))
        for task in tasks:
            task.cancel()
        while not all(task.done() for task in tasks):
            _answer(pair.plain, "answer")
            await settle()
        log += [outcome(task.result) for task in tasks]
        made.clear()
        tasks.clear()
        await settle()
    log += [str(warning.message) for warning in warned]
    log += [direction.is_free for direction in pair.directions]
    log += [direction.inside for direction in pair.directions]
    for finding in grpc_guard.findings():
        parties = _of_party(finding.owner), _of_party(finding.caller)
        log.append((finding.rule.name, finding.count, *parties))
    grpc_guard.clear_findings()
    return log


def _answer(plain: Staged, how: str) -> None:
    waiting = [future for future in plain.waiting if not future.done()][:1]
    for future in waiting:
        if how == "answer":
            future.set_result(MESSAGE)
        elif how == "fail":
            future.set_exception(LookupError("lost"))
        else:
            future.cancel()


def _do(act: str, made: list[Any], at: int, tasks: list[asyncio.Task[Any]]) -> Any:
    operation = made[at]
    name = f"{act} {len(tasks)}"
    if act == "task":
        tasks.append(asyncio.create_task(operation, name=name))
    elif act == "party":
        if operation.__name__ == "__anext__" and operation.cr_suspended:
            return None  # refused in Python alone; in C, as by grpcio's own, it disturbs the first
        tasks.append(asyncio.create_task(party(operation), name=name))
    elif act == "drop":
        del made[at]
    elif act == "close":
        return outcome(operation.close)
    elif act == "send":
        return outcome(operation.send, None)
    else:
        return outcome(operation.throw, KeyError(7) if act == "throw" else GeneratorExit())
    return None


@settings(max_examples=30, deadline=None)
@given(
    steps,
    st.sampled_from(["client", "server"]),
    st.sampled_from([Mode.RAISE, Mode.WARN, Mode.SERIALIZE]),
)
def test_one_schedule_for_both(schedule: list[tuple[str, int]], side: str, mode: Mode) -> None:
    """Results, errors, warnings and findings of any schedule are the same in C and in Python."""
    in_c, in_python = (run(play(schedule, side, mode, in_c=each)) for each in (True, False))
    assert in_c == in_python


def stub(mode: Mode = Mode.RAISE) -> Pair:
    return Pair("client", mode, in_c=True)


async def test_it_is_a_coroutine() -> None:
    """Whoever asks what a call of read() returns gets the answers that a coroutine gives."""
    pair = stub()
    operation = pair.proxy.read()
    assert inspect.iscoroutinefunction(pair.proxy.read)
    assert inspect.iscoroutine(operation)
    assert inspect.isawaitable(operation)
    assert asyncio.iscoroutine(operation)
    assert isinstance(operation, Coroutine)
    assert inspect.getcoroutinestate(operation) == inspect.CORO_CREATED
    assert (operation.__name__, operation.__qualname__) == ("read", "_StreamResponseMixin.read")
    assert repr(operation).startswith("<coroutine object _StreamResponseMixin.read at 0x")
    assert (type(operation).__name__, operation.cr_origin) == ("coroutine", None)
    operation.close()
    assert inspect.getcoroutinestate(operation) == inspect.CORO_CLOSED


async def test_what_shows_of_it_while_it_waits() -> None:
    """A task of the operation alone shows where the plain coroutine is, as without the guard."""
    pair = stub()
    task = asyncio.create_task(pair.proxy.read())
    await settle()
    operation: Any = task.get_coro()
    assert inspect.getcoroutinestate(operation) == inspect.CORO_SUSPENDED
    assert f"<coroutine object {Staged.read.__qualname__}" in repr(operation.cr_await)
    assert [frame.f_code for frame in task.get_stack()] == [Staged.read.__code__]
    assert f"_StreamResponseMixin.read() running at {__file__}:" in repr(task)
    assert operation.place[0] is test_what_shows_of_it_while_it_waits.__code__
    assert pair.directions[0].inside is operation
    owner = owner_of(pair.directions[0])
    assert (owner.name, owner.relation) == (task.get_name(), "asked-at")  # type: ignore[union-attr]
    assert owner.stack[-1].function == "test_what_shows_of_it_while_it_waits"  # type: ignore[union-attr]
    with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
        await operation
    _answer(pair.plain, "answer")
    assert await task == MESSAGE
    assert pair.directions[0].inside is None
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        await operation


async def test_what_drives_it() -> None:
    """All that drives a coroutine drives the operation: gather(), wait_for(), ``yield from``."""

    class Delegating:
        def __await__(self) -> Any:
            return (yield from pair.proxy.read().__await__())

    async def in_turn() -> Any:
        return await Delegating()

    for drive in (
        lambda: asyncio.gather(pair.proxy.read(), pair.proxy.write(MESSAGE)),
        lambda: asyncio.wait_for(pair.proxy.read(), None),
        lambda: asyncio.ensure_future(pair.proxy.read()),
        in_turn,
    ):
        pair = stub()
        task = asyncio.ensure_future(drive())
        await settle()
        await settle()
        for _ in pair.plain.waiting:
            _answer(pair.plain, "answer")
        assert await task in (MESSAGE, [MESSAGE, None])
        assert [direction.taken for direction in pair.directions] == [False, False]


async def test_origin_of_a_coroutine() -> None:
    """Where asyncio notes the origin of coroutines, in its debug mode, that of the operation is known."""
    pair = stub()
    before = sys.get_coroutine_origin_tracking_depth()
    sys.set_coroutine_origin_tracking_depth(1)
    try:
        operation = pair.proxy.read()
    finally:
        sys.set_coroutine_origin_tracking_depth(before)
    function = test_origin_of_a_coroutine.__name__
    assert [line[2] for line in operation.cr_origin] == [function]
    operation.close()


async def test_cycle_that_nobody_has() -> None:
    """An operation that is found by the collector alone ends then, and frees its direction."""
    for _ in range(3):  # the memory of one that was found may be there to be used again
        pair = stub()
        operation = pair.proxy.read()
        operation.send(None)
        (owner, _) = last_owner_of(pair.directions[0])
        assert (owner.name, owner.operation) == ("(not found)", "read")  # type: ignore[union-attr]
        assert owner.stack[-1].function == test_cycle_that_nobody_has.__name__  # type: ignore[union-attr]
        pair.plain.waiting[0].operation = operation  # type: ignore[attr-defined]
        gone, direction = weakref.ref(operation), pair.directions[0]
        pair.plain.waiting.clear()
        del operation, pair
        gc.collect()
        assert gone() is None
        assert (direction.taken, direction.inside) == (False, None)


async def test_who_looks_while_it_dies() -> None:
    """What runs when its last reference goes finds the direction free: a weak reference's callback."""
    pair = stub()
    direction, seen = pair.directions[0], []

    def look(reference: object) -> None:
        gc.collect()  # which is to find nothing of it either
        seen.append((direction.taken, direction.inside))

    operation = pair.proxy.read()
    operation.send(None)
    watching = weakref.ref(operation, look)
    pair.plain.waiting.clear()
    del operation
    assert seen == [(False, None)]
    assert watching() is None


async def test_who_drives_it_while_it_runs_or_dies() -> None:
    """It refuses whoever drives it from within its step, and whoever keeps it at its end."""
    pair, kept, refused = stub(), [], []

    async def step() -> None:
        for drive in ("send", "throw", "close"):
            what = {"send": (None,), "throw": (KeyError(),), "close": ()}[drive]
            refused.append(outcome(getattr(direction.inside, drive), *what))
        try:
            await suspend()
        finally:
            kept.append(direction.inside)

    direction = pair.directions[0]
    direction.step = step
    operation = pair.proxy.read()
    operation.send(None)
    assert refused == [("ValueError", "coroutine already executing", None)] * 3
    del operation
    (operation,) = kept
    assert (direction.taken, operation.owns, operation.cr_await) == (False, False, None)
    with pytest.raises(RuntimeError, match="cannot reuse"):
        operation.send(None)
    operation.close()


async def test_function_that_stands_for_it() -> None:
    """The method is a function to everybody who looks, and does what a function does."""
    method: Any = vars(aio_calls.ReadingCall)["read"]
    function = method.__get__(None, aio_calls.ReadingCall)
    assert inspect.isfunction(method)
    assert type(function) is types.FunctionType
    assert (method.__code__, method.__doc__) == (function.__code__, function.__doc__)
    assert repr(method) == repr(function)
    assert aio_calls.ReadingCall.read is method
    with pytest.raises(TypeError, match=r"takes 1 positional argument but 2 were given"):
        method(1, 2)
    written = stub().proxy.write(request=MESSAGE)  # by name: the coroutine of Python
    assert type(written) is types.CoroutineType
    written.close()


async def test_party_let_through_beside_an_owner_in_python() -> None:
    """It is not the owner, though the method that it drives holds the direction."""
    pair = stub(Mode.WARN)
    owner = asyncio.create_task(pair.messages.asend(None), name="owner")
    await settle()
    guest = asyncio.create_task(pair.proxy.read(), name="guest")
    await settle()
    assert guard_roles.inside_task(owner.get_coro(), pair.directions[0]) is not None
    assert guard_roles.inside_task(guest.get_coro(), pair.directions[0]) is None
    for _ in pair.plain.waiting:
        _answer(pair.plain, "answer")
    assert await owner == await guest == MESSAGE
    (finding,) = grpc_guard.findings()
    assert (finding.owner.name, finding.caller.name) == ("owner", "guest")  # type: ignore[union-attr]
    grpc_guard.clear_findings()
