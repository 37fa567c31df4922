"""Operations of asyncio done in C beside those done in Python: they do the same, driven in the same way."""

from __future__ import annotations

import asyncio
import functools
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import Mode, Stream, aio_calls, aio_handlers, core_fields, core_which
from support.operating import MESSAGE, Plain
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
        guard: Any = aio_calls.DuplexCall if side == "client" else aio_handlers.Context
        proxy = self.proxy = guard(self.plain, self.stream)
        self.directions = [proxy._self_read, proxy._self_write]
        if side == "client":
            reader = proxy
        else:
            reader = aio_handlers.RequestIterator(self.plain, self.stream, proxy._self_read)
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
    frames = [(frame.function, frame.line) for frame in owner.stack] if owner else None
    return owner and (owner.kind, owner.name, owner.operation, owner.relation, frames)


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
