"""The owner of a direction: a thread, task or greenlet, found on its stack."""

from __future__ import annotations

import _thread
import asyncio
import functools
import gc
import inspect
import operator
import os
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from inside import (
    AioDirection,
    Handlers,
    Stream,
    Ticket,
    Way,
    aio_calls,
    aio_given,
    aio_handlers,
    core_operations,
    core_turns,
    duration,
    extras,
    findings_stacks,
    guard_noted,
    guard_owners,
    guard_roles,
    guard_torn,
    last_owner_of,
    loops_door,
    owner_of,
    parties,
    steps,
    sync_calls,
    sync_handlers,
    this_party,
    waiters,
)
from support import staging
from support.comparison import no_collector
from support.forking import in_child
from support.staging import PATIENCE, AsyncGate, Gate, in_thread, settle, wait

from grpc_guard import ConcurrencyError, Mode, Owner

MODES = pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN, Mode.SERIALIZE])


class Plain:
    """A stream whose operations do `park`."""

    def __init__(self, park: Callable[[], Any]) -> None:
        self._park = park

    def __next__(self) -> Any:
        return self._park()

    def is_active(self) -> bool:
        return True

    async def read(self) -> Any:
        return await self._park()

    async def write(self, message: object) -> Any:
        return await self._park()

    def done(self) -> bool:
        return False


AGO = 1000.0  # seconds by which a test has an operation begun earlier


def sync_call(park: Callable[[], Any], mode: Mode = Mode.RAISE) -> Any:
    return sync_calls.responses_of(Plain(park), Stream("/x", "client", "sync", mode))


def aio_call(park: Callable[[], Any], mode: Mode = Mode.RAISE) -> Any:
    loop = asyncio.get_running_loop()
    return aio_calls.DuplexCall(Plain(park), Stream("/x", "client", "aio", mode, loop))


# Threads


def test_owner_that_has_not_noted_itself_yet() -> None:
    """Between its claim and its note an owner is unknown, which is no error."""
    call = sync_call(lambda: None)
    del call._self_read.free
    owner = owner_of(call._self_read)
    assert owner is not None
    assert (owner.operation, owner.stack) == ("read", ())


def test_a_thread_that_meets_itself(found: Callable[[], Any]) -> None:
    """The search for an owner on the stack of the caller keeps nothing of that stack."""

    class Held:
        pass

    calls: list[Any] = []
    calls.append(sync_call(lambda: next(calls[0])))

    def read() -> weakref.ref[Held]:
        held = Held()
        try:
            next(calls[0])
        except ConcurrencyError:
            return weakref.ref(held)
        raise AssertionError("nothing was refused")

    with no_collector():
        kept = read()
        found()
        assert kept() is None


@MODES
def test_thread_inside(mode: Mode) -> None:
    """A thread inside is named, with operation, time, and its stack down to the user's line."""

    def consume() -> None:
        next(call)

    gate = Gate()
    call = sync_call(gate.park, mode)
    assert owner_of(call._self_read) is None
    party = in_thread(consume, name="consumer")
    with gate.held():
        call._self_read.since -= AGO
        owner = owner_of(call._self_read)
        call._self_read.since += 2 * AGO  # as of an operation that began during the search
        begun = owner_of(call._self_read)
    party.result()
    assert begun is not None
    assert begun.held_seconds == 0.0
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("thread", "consumer", "next")
    assert owner.held_seconds is not None
    assert AGO <= owner.held_seconds < AGO + PATIENCE
    assert owner.site is not None
    assert (owner.site.function, owner.site.code) == ("consume", "next(call)")
    assert owner_of(call._self_read) is None


def test_thread_inside_a_users_iterator() -> None:
    """If the user's own iterator has the direction, its lines are shown."""
    gate = Gate()

    def requests() -> Iterator[bytes]:
        gate.park()
        yield b"message"

    stream = Stream("/x", "client", "sync", Mode.RAISE)
    guarded: Any = sync_calls.requests_of(requests(), stream)
    party = in_thread(next, guarded, name="sender")
    with gate.held():
        assert stream.write is not None
        owner = owner_of(stream.write)
    party.result()
    assert owner is not None
    assert owner.operation == "next(request_iterator)"
    assert "requests" in [frame.function for frame in owner.stack]


def test_thread_that_is_let_through(found: Any) -> None:
    """If two threads are inside, the one that was let through is not the owner."""
    gates = {"owner": Gate(), "guest": Gate()}

    def park() -> None:
        gates[threading.current_thread().name].park()

    call = sync_call(park, Mode.WARN)
    owner = in_thread(next, call, name="owner")
    gates["owner"].wait()
    guest = in_thread(next, call, name="guest")
    gates["guest"].wait()
    direction = call._self_read
    inside = owner_of(direction)
    assert inside is not None
    assert inside.name == "owner"
    gates["owner"].open()
    owner.result()
    assert owner_of(direction) is None
    gates["guest"].open()
    guest.result()
    found()


def test_thread_that_python_does_not_know() -> None:
    """A thread that was started without the threading module is named by its number."""
    gate, ended = Gate(), threading.Event()
    call = sync_call(gate.park)

    def consume() -> None:
        next(call)
        ended.set()

    ident = _thread.start_new_thread(consume, ())
    with gate.held():
        owner = owner_of(call._self_read)
    wait(ended)
    assert owner is not None
    assert owner.name == f"thread {ident}"


def test_thread_that_python_does_not_know_and_that_has_no_line() -> None:
    """If the operation itself was handed to such a thread, no line can be found."""
    gate, ended = Gate(), threading.Event()

    def park() -> None:
        gate.park()
        ended.set()

    call = sync_call(park)
    ident = _thread.start_new_thread(next, (call,))
    with gate.held():
        owner = owner_of(call._self_read)
    wait(ended)
    assert owner is not None
    assert (owner.name, owner.relation) == (f"thread {ident}", "inside")
    assert (owner.stack, owner.started_at) == ((), None)


def test_frames_that_show_where_an_owner_is() -> None:
    """They begin where the program asked for the operation, whatever runs inside that."""
    idents: list[int] = []

    def consume() -> None:
        idents.append(threading.get_ident())
        next(call)

    gate = Gate()
    call = sync_call(gate.park)
    party = in_thread(consume, name="consumer")
    with gate.held():
        frames = list(findings_stacks.outward(sys._current_frames()[idents[0]]))
        noted = guard_noted.noted_directions()
        (role,) = guard_roles.roles(frames, guard_noted.standing_among(frames, noted, idents[0]))
        names = [frame.f_code.co_name for frame in role.frames]
        frames.clear()
    party.result()
    assert names[0] == "consume"
    assert role.direction is call._self_read


def test_thread_that_has_just_left() -> None:
    """A thread that has left is still named by what it noted."""
    call = sync_call(lambda: None)
    direction = call._self_read
    assert last_owner_of(direction) == (None, False)
    in_thread(next, call).result()
    assert owner_of(direction) is None
    owner, is_being_cancelled = last_owner_of(direction)
    assert not is_being_cancelled
    assert owner is not None
    assert owner.kind == "thread"
    assert owner.operation == "read"
    next(call)
    assert last_owner_of(direction) == (None, False)  # it was the one that asks


@pytest.mark.parametrize("other", [-1, 1])
def test_thread_that_left_before_the_search(other: int) -> None:
    """It is named by what it noted, and nobody is where the caller itself was the last."""
    direction = sync_call(lambda: None)._self_read
    direction.owner = threading.get_ident()
    assert last_owner_of(direction) == (None, False)
    direction.owner += other
    owner, is_being_cancelled = last_owner_of(direction)
    assert owner is not None
    assert (owner.operation, is_being_cancelled) == ("read", False)


def test_thread_that_leaves_while_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that no longer has a stack is named from its note."""
    monkeypatch.delitem(sys.modules, "gevent", raising=False)  # another test may have loaded it
    direction = steps.HandlerResponses(Stream("/x", "server", "sync", Mode.RAISE), iter(()))
    del direction.free
    direction.owner = threading.get_ident()
    owner = owner_of(direction)
    assert last_owner_of(direction)[1] is False
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("thread", "MainThread", "write")
    assert owner.stack == ()


# Tasks, below the objects that they await


async def by_coroutine(call: Any) -> None:
    await call.read()


async def by_async_generator(call: Any) -> None:
    async for _ in _read_in_generator(call):
        pass


async def _read_in_generator(call: Any) -> AsyncIterator[Any]:
    yield await call.read()


async def by_asend(call: Any) -> None:
    await _read_in_generator(call).asend(None)


async def by_anext(call: Any) -> None:
    await anext(_read_in_generator(call))


async def by_awaitable(call: Any) -> None:
    class Awaitable:
        def __await__(self) -> Generator[Any, None, Any]:
            return (yield from call.read().__await__())

    await Awaitable()


async def by_wrapped_coroutine(call: Any) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            return call.read().__await__()

    await Awaitable()


@MODES
@pytest.mark.parametrize(
    "consume",
    [by_coroutine, by_async_generator, by_asend, by_anext, by_awaitable, by_wrapped_coroutine],
)
async def test_task_inside(consume: Any, mode: Mode) -> None:
    """A task inside is found through any object by which it awaits the operation."""
    gate = AsyncGate()
    call = aio_call(gate.park, mode)
    task = asyncio.create_task(consume(call), name="consumer")
    async with gate.held():
        owner, is_being_cancelled = last_owner_of(call._self_read)
        assert not is_being_cancelled
    await task
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("task", "consumer", "read")
    assert owner.stack[0].function == consume.__name__
    assert owner_of(call._self_read) is None


async def test_task_far_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task whose chain of awaits is very long is not found, and that is said."""
    monkeypatch.setattr(waiters, "CHAIN_LENGTH", 50)

    async def nest(depth: int) -> None:
        if depth:
            await nest(depth - 1)
        else:
            await call.read()

    gate = AsyncGate()
    call = aio_call(gate.park)
    task = asyncio.create_task(nest(waiters.CHAIN_LENGTH))
    async with gate.held():
        owner, is_being_cancelled = last_owner_of(call._self_read)
        assert not is_being_cancelled
    await task
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("task", "(not found)", "read")


async def test_task_that_is_asked_by_another_thread() -> None:
    """Any thread can ask for the owner."""
    gate = AsyncGate()
    call = aio_call(gate.park)
    task = asyncio.create_task(by_coroutine(call), name="consumer")
    async with gate.held():
        owner = in_thread(owner_of, call._self_read).result()
    await task
    assert owner is not None
    assert owner.name == "consumer"


async def test_task_that_has_left() -> None:
    """A task leaves no note: when it has left, no party can be named."""
    call = aio_call(settle)
    await call.read()
    assert last_owner_of(call._self_read) == (None, False)


async def test_task_that_waits_is_no_owner(found: Any) -> None:
    """A task on its way into a direction does not own it."""
    gate = AsyncGate()
    call = aio_call(gate.park, Mode.SERIALIZE)
    first = asyncio.create_task(call.read(), name="first")
    await gate.wait()
    second = asyncio.create_task(call.read(), name="second")
    await settle()
    assert owner_though_asked_first(second, call._self_read) == ("first", "read")
    gate.open()
    await asyncio.gather(first, second)
    found()


def owner_though_asked_first(task: asyncio.Task[Any], direction: Any) -> tuple[str, str]:
    """Return who owns `direction`, and in which operation, if `task` is the first to be looked at."""
    direction.owner = weakref.ref(task)
    direction.since -= AGO
    owner = owner_of(direction)
    assert owner is not None
    assert owner.held_seconds is not None
    assert AGO <= owner.held_seconds < AGO + PATIENCE
    return owner.name, owner.operation


async def test_task_that_was_let_through_is_no_owner(found: Any) -> None:
    """A task that mode warn lets in beside the owner does not own the direction."""
    gates = [AsyncGate(), AsyncGate()]
    parks = iter([gate.park for gate in gates])
    call = aio_call(lambda: next(parks)(), Mode.WARN)
    tasks = []
    for name, gate in zip(("first", "second"), gates, strict=True):
        tasks.append(asyncio.create_task(call.read(), name=name))
        await gate.wait()
    assert owner_though_asked_first(tasks[1], call._self_read) == ("first", "read")
    for gate in gates:
        gate.open()
    await asyncio.gather(*tasks)
    found()


async def test_task_whose_message_waits_in_a_queue_is_no_owner() -> None:
    """A write through grpcio's queue does not own the direction that done_writing() has."""
    gate = AsyncGate()
    plain: Any = Plain(gate.park)
    plain.done_writing = gate.park
    stream = Stream("/x", "client", "aio", Mode.RAISE, asyncio.get_running_loop())
    call = aio_calls.QueuedDuplexCall(plain, stream)
    queued = asyncio.create_task(call.write(b""), name="queued")
    await gate.wait()
    closing = asyncio.create_task(call.done_writing(), name="closing")
    await settle()
    assert owner_though_asked_first(queued, call._self_write) == ("closing", "done_writing")
    gate.open()
    await asyncio.gather(queued, closing)


@pytest.mark.parametrize("begun", [False, True])
async def test_task_that_is_being_cancelled(begun: bool) -> None:
    """A task is being cancelled from cancel() on until it is told."""
    gate = AsyncGate()

    async def park() -> None:
        for _ in range(10):
            await asyncio.sleep(0)  # suspended, but waiting for nothing that can be cancelled
        await gate.park()

    call = aio_call(park)
    task = asyncio.create_task(call.read())
    if begun:
        await gate.wait()
    else:
        await settle()
    direction = call._self_read
    assert last_owner_of(direction)[1] is False
    task.cancel()
    assert last_owner_of(direction)[1] is True
    with pytest.raises(asyncio.CancelledError):
        await task
    assert last_owner_of(direction)[1] is False


async def test_task_that_waits_for_one_that_is_being_cancelled() -> None:
    """So is one that waits for a task of its own, as for grpcio's that sends the request."""
    gate = AsyncGate()

    async def park() -> None:
        await asyncio.create_task(gate.park())

    call = aio_call(park)
    task = asyncio.create_task(call.read())
    await gate.wait()
    assert last_owner_of(call._self_read)[1] is False
    task.cancel()
    assert last_owner_of(call._self_read)[1] is True
    with pytest.raises(asyncio.CancelledError):
        await task


def test_task_that_waits_for_itself() -> None:
    """Tasks in a deadlock are looked at, and not for ever."""
    task = types.SimpleNamespace(cancelled=lambda: False, _must_cancel=False)
    task._fut_waiter = task
    assert loops_door.is_being_cancelled(task) is False


async def test_handler_that_has_yielded() -> None:
    """A handler whose message gRPC is writing owns the writing direction."""

    async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"message"

    async def serve() -> None:
        async for _ in aio_handlers._generate(
            Handlers(None), stream, context, handler(None, context)
        ):
            await gate.park()

    gate = AsyncGate()
    stream = Stream("/x", "server", "aio", Mode.RAISE, asyncio.get_running_loop())
    context = aio_given.Context(Plain(settle), stream)
    task = asyncio.create_task(serve(), name="serving")
    async with gate.held():
        owner = owner_of(context._self_write)
    await task
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("task", "serving", "yield")
    assert [frame.function for frame in owner.stack] == ["handler"]


async def test_handler_that_has_not_yet_yielded() -> None:
    """A handler at work on its next message does not own what its helper writes meanwhile."""

    async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
        await gate.park()
        yield b"message"

    async def serve() -> None:
        async for _ in aio_handlers._generate(
            Handlers(None), stream, context, handler(None, context)
        ):
            pass

    gate, writing = AsyncGate(), AsyncGate()
    stream = Stream("/x", "server", "aio", Mode.RAISE, asyncio.get_running_loop())
    context = aio_given.Context(Plain(writing.park), stream)
    serving = asyncio.create_task(serve(), name="serving")
    await gate.wait()
    helper = asyncio.create_task(context.write(b""), name="helper")
    await writing.wait()
    assert owner_though_asked_first(serving, context._self_write) == ("helper", "context.write")
    writing.open()
    await helper
    gate.open()
    await serving


def at(function: Any, instruction: int, **names: Any) -> Any:
    """Return what looks as a frame of `function` does when it is at this instruction."""
    return types.SimpleNamespace(f_code=function.__code__, f_lasti=instruction, f_locals=names)


def test_frames_of_two_operations() -> None:
    """Which of the two is the owner's takes more to tell than their places."""
    names = {"direction": sync_call(lambda: None)._self_read}
    frames: list[Any] = [
        types.SimpleNamespace(f_code=code, f_lasti=1 << 20, f_locals=names)
        for code in core_operations.OPERATIONS
    ]
    frame = next(frame for frame in frames if guard_roles.owner_at([frame]))
    assert guard_roles.owner_at([frame, frame]) is None
    assert guard_roles.owner_at([]) is None


def test_operation_that_nothing_in_python_asked_for() -> None:
    """No frame is where that was."""
    assert core_operations.asked_at(None) is None


def test_how_far_an_operation_has_come() -> None:
    """What the instruction does where it is now is not yet done; its time counts once it is noted."""
    direction = sync_call(lambda: None)._self_read
    direction.since = -AGO
    claims, notes = core_operations._points_of(core_turns.take_turn.__code__)

    def held(instruction: int) -> float | None:
        frame = at(core_turns.take_turn, instruction, direction=direction)
        found = guard_roles.inside([frame, sys._getframe()], direction)
        return None if found is None else found[1]

    assert held(claims - 2) is held(claims) is None
    assert held(claims + 2) == held(notes) == 0.0
    assert held(notes + 2) > AGO  # type: ignore[operator]
    assert core_operations.progress(at(settle, 0)) == core_operations.NOTED


def test_handler_that_is_about_to_yield() -> None:
    """Between its claim and its yield it shows a frame, and owns the direction as it does then."""
    generate = aio_handlers._generate
    stream = Stream("/x", "server", "aio", Mode.RAISE)
    direction = AioDirection(stream, Way.WRITE, settle)
    stream.handler = (lambda: None, lambda: None)  # type: ignore[assignment]
    claims, notes = core_operations._points_of(generate.__code__)
    seen = []
    for instruction in (claims, notes, notes + 2):
        frame = at(generate, instruction, direction=direction)
        roles = guard_roles.roles([frame])
        seen.append([(role.operation, role.is_owner, role.is_timed) for role in roles])
    assert seen == [[], [("yield", True, False)], []]


def test_frames_of_a_handler_begin_with_the_innermost() -> None:
    """As those of every party do."""

    @types.coroutine
    def innermost() -> Iterator[None]:
        yield

    async def middle() -> None:
        await innermost()

    async def outermost() -> None:
        await middle()

    coroutine = outermost()
    coroutine.send(None)
    stream: Any = types.SimpleNamespace(handler=(None, lambda: coroutine))
    frames = guard_roles.frames_at_yield(stream)
    assert [frame.f_code.co_name for frame in frames] == ["innermost", "middle", "outermost"]
    frames.clear()
    coroutine.close()


async def test_handler_whose_task_is_gone() -> None:
    """If a handler's task is gone, the owner of its writing direction is not found."""
    stream = Stream("/x", "server", "aio", Mode.RAISE, asyncio.get_running_loop())
    stream.handler = (lambda: None, lambda: None)  # type: ignore[assignment]
    for way in Way:
        direction = AioDirection(stream, way, settle)
        direction.taken = True
        owner = owner_of(direction)
        assert owner is not None
        assert (owner.name, owner.operation) == ("(not found)", way)


async def test_task_that_has_no_frame() -> None:
    """A task that was made of something without a frame is passed over."""
    finished = _read_in_generator(aio_call(settle))
    async for _ in finished:
        pass
    assert list(guard_owners.await_chain(finished)) == []


def test_caller_that_is_all_of_its_stack() -> None:
    """A task's frames may be the only ones, as if no loop ran."""

    def inner() -> list[str]:
        return [frame.f_code.co_name for frame in parties._of_task(sys._getframe())]

    assert inner()[0] == "inner"


# Callers


async def test_caller_that_is_a_task() -> None:
    """A calling task is named, with its own frames and none of those that run the loop."""
    party = parties.this_party(sys._getframe(), "read", is_task=True)
    assert (party.kind, party.name, party.operation, party.held_seconds) == (
        "task",
        "test",
        "read",
        None,
    )
    assert [frame.function for frame in party.stack] == ["test_caller_that_is_a_task"]


def test_caller_that_strayed_into_asyncio() -> None:
    """A thread that calls an asyncio object without a loop is named as the thread it is."""
    party = parties.this_party(sys._getframe(), "read", is_task=True)
    assert (party.kind, party.name) == ("thread", "MainThread")
    assert party.site is not None
    assert party.site.function == "test_caller_that_strayed_into_asyncio"


async def test_caller_that_has_its_loop_run_an_operation(found: Any) -> None:
    """A task that is the operation alone has the line at which a thread runs it."""
    call = aio_call(settle)

    def run() -> None:
        asyncio.run(call.read())

    with pytest.raises(ConcurrencyError):
        await asyncio.to_thread(run)
    (finding,) = found()
    assert finding.rule.name == "wrong-loop"
    assert finding.caller.site.code == "asyncio.run(call.read())"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="no eager tasks")
async def test_caller_that_is_started_eagerly(found: Any) -> None:
    """A task that takes its first step where it is made has that line."""
    gate = AsyncGate()
    call = aio_call(gate.park)
    reading = asyncio.create_task(call.read())
    await gate.wait()
    factory = getattr(asyncio, "eager_task_factory")  # noqa: B009  # later than the oldest Python
    asyncio.get_running_loop().set_task_factory(factory)
    refused = asyncio.create_task(call.read())
    with pytest.raises(ConcurrencyError):
        await refused
    gate.open()
    await reading
    (finding,) = found()
    assert finding.caller.site.code == "refused = asyncio.create_task(call.read())"


async def test_caller_that_is_a_callback() -> None:
    """A callback of the loop belongs to no task; it is named as its thread."""
    told = asyncio.get_running_loop().create_future()

    def callback() -> None:
        told.set_result(parties.this_party(sys._getframe(), "read", is_task=True))

    asyncio.get_running_loop().call_soon(callback)
    party = await told
    assert (party.kind, party.name) == ("thread", "MainThread")


def test_whole_report(found: Any) -> None:
    """The report of two threads, in full: parties, places, and what to do."""

    def consume() -> None:
        next(call)

    gate = Gate()
    # Code that waits would tell that the object is no iterator of gRPC's.
    park = functools.partial(operator.methodcaller("park"), gate)
    call = sync_handlers.requests_of(
        Plain(park), Stream("/test.Guard/Chat", "server", "sync", Mode.RAISE)
    )
    party = in_thread(consume, name="first")
    with gate.held():
        refused = in_thread(consume, name="second")
        error = refused.exception()
    party.result()
    (finding,) = found()
    rule, code = finding.rule, consume.__code__
    held = duration(finding.owner.held_seconds)
    runner = staging.Party._run
    lines, first = inspect.getsourcelines(runner)
    called = next(n for n, line in enumerate(lines, first) if "set_result" in line)
    stack = [
        f'    File "{staging.__file__}", line {called}, in _run',
        "      self._outcome.set_result(function(*args))",
        f'    File "{__file__}", line {code.co_firstlineno + 1}, in consume',
        "      next(call)",
    ]
    assert str(error).splitlines() == [
        (
            "concurrent-read: next by thread 'second' on /test.Guard/Chat (server, sync) "
            f"refused: thread 'first' has been in next for {held}"
        ),
        f"  owner:  thread 'first' in next for {held}",
        *stack,
        "  caller: thread 'second' in next",
        *stack,
        f"  without the guard: {rule.unguarded('server', 'sync')}",
        f"  how to fix it: {rule.remedy}",
        f"  rule: concurrent-read ({rule.summary}); source: {rule.source}",
    ]


# Greenlets


def test_greenlet_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended greenlet inside is found where gevent is loaded, and named by its address."""
    greenlet = pytest.importorskip("greenlet")
    monkeypatch.setitem(sys.modules, "gevent", greenlet)  # that it is loaded is all that counts

    def consume() -> None:
        next(call)

    call = sync_call(greenlet.getcurrent().switch)
    main = greenlet.getcurrent()
    idle = greenlet.greenlet(lambda: main.switch())
    idle.switch()
    consumer = greenlet.greenlet(consume)
    consumer.switch()
    owner = owner_of(call._self_read)
    consumer.switch()
    idle.switch()
    assert owner is not None
    assert (owner.kind, owner.name, owner.operation) == ("greenlet", hex(id(consumer)), "next")
    assert owner.site is not None
    assert owner.site.function == "consume"
    assert owner_of(call._self_read) is None


def test_greenlet_that_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that runs in a greenlet is told as one where gevent is loaded, else as a thread."""
    greenlet = pytest.importorskip("greenlet")
    callers = []

    def call() -> None:
        callers.append(this_party(sys._getframe(), "next", is_task=False))

    monkeypatch.delitem(sys.modules, "gevent", raising=False)
    greenlet.greenlet(call).switch()
    monkeypatch.setitem(sys.modules, "gevent", greenlet)
    caller = greenlet.greenlet(call)
    caller.switch()
    call()
    assert [(party.kind, party.name) for party in callers] == [
        ("thread", "MainThread"),
        ("greenlet", hex(id(caller))),
        ("thread", "MainThread"),
    ]
    assert callers[1].site.function == "call"


def test_thread_that_leaves_while_greenlets_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no greenlet is inside either, the owner is named from its note."""
    greenlet = pytest.importorskip("greenlet")
    monkeypatch.setitem(sys.modules, "gevent", greenlet)
    main = greenlet.getcurrent()
    idle = greenlet.greenlet(lambda: main.switch())
    idle.switch()
    direction = steps.Requests(Stream("/x", "server", "sync", Mode.RAISE), iter(()))
    del direction.free
    direction.owner = threading.get_ident()
    owner = owner_of(direction)
    idle.switch()
    assert owner is not None
    assert (owner.kind, owner.name) == ("thread", "MainThread")


def test_greenlet_of_gevent_inside() -> None:
    """gevent's greenlets are found and told as such."""
    pytest.importorskip("gevent")
    program = """
import gc, sys
import gevent, gevent.event
from grpc_guard import Mode
from grpc_guard._core.stream import Stream
from grpc_guard._guard.owners import owner_of
from grpc_guard._proxies.sync.calls import responses_of

class Plain:
    def __next__(self):
        go.wait()

def consume():
    next(call)

go = gevent.event.Event()
call = responses_of(Plain(), Stream("/x", "client", "sync", Mode.RAISE))
greenlet = gevent.spawn(consume)
gevent.sleep(0)
owner = owner_of(call._self_read)
go.set()
greenlet.join()
print(owner.kind, owner.operation, owner.site.function, owner_of(call._self_read))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (
        0,
        "greenlet next consume None\n",
        "",
    )


def test_party_that_came_during_the_search() -> None:
    """It has held nothing for less than no time."""
    ticket = Ticket("next", None)
    assert guard_owners.party_with(ticket, ticket.since - AGO).held_seconds == 0.0


def test_party_that_waits_is_told_with_its_callers() -> None:
    """A thread that is still where it asked has a stack; of one that has gone on the line is known."""
    gate, tickets = Gate(), []

    def wait_in_line() -> None:
        tickets.append(Ticket("next", sys._getframe(1)))
        gate.park()

    def helper() -> None:
        wait_in_line()

    def worker() -> None:
        helper()

    def told() -> list[str]:
        (ticket,) = tickets
        return [frame.function for frame in guard_owners.party_with(ticket, ticket.since).stack]

    party = in_thread(worker, name="worker")
    with gate.held():
        assert told()[-2:] == ["worker", "helper"]
    party.result()
    assert told() == ["helper"]


async def test_task_that_waits_is_told_with_its_callers() -> None:
    """The same of a task, by what it awaits."""
    gate, tickets = AsyncGate(), []

    async def wait_in_line() -> None:
        tickets.append(core_turns.ticket_of_task("read", sys._getframe(1)))
        await gate.park()

    async def helper() -> None:
        await wait_in_line()

    async def worker() -> None:
        await helper()

    def told() -> list[str]:
        (ticket,) = tickets
        return [frame.function for frame in guard_owners.party_with(ticket, ticket.since).stack]

    task = asyncio.create_task(worker(), name="worker")
    async with gate.held():
        assert told() == ["worker", "helper"]
    await task
    assert told() == ["helper"]
    del task
    gc.collect()
    assert told() == ["helper"]  # nobody has the task any more


def test_party_met_where_nobody_is_left() -> None:
    """A thread that an interrupt takes out of the line has no finding: it has met no party."""
    assert guard_owners.party_met(extras.Turns(), Ticket("next", None)) is None


@pytest.mark.parametrize("other", [-1, 1])
def test_party_met_that_has_just_left(other: int) -> None:
    """It is met, unless it was the caller itself."""
    turns, ticket = extras.Turns(), Ticket("next", None)
    turns.inside = last = Ticket("next", None)
    assert guard_owners.party_met(turns, ticket) is None
    last.ident += other
    assert guard_owners.party_met(turns, ticket) is last


@pytest.mark.parametrize("operation", ["initial_metadata", "read"])
def test_party_met_that_has_passed_its_turn_on(operation: str) -> None:
    """It is told as it was met: the operation that is found inside is another one by now."""
    gate = Gate()
    call = sync_call(gate.park)
    inside = in_thread(next, call)
    with gate.held():
        owner, _ = guard_owners.party_to_wait(call._self_read, Ticket(operation, None))
    inside.result()
    assert owner is not None
    assert owner.operation == operation


def test_owner_that_is_unknown() -> None:
    """Only a task can be: others may have the name that stands for it."""
    unknown = {
        (kind, name)
        for kind in ("greenlet", "task", "thread")
        for name in ("!", "(not found)", "name")
        if guard_owners.is_unknown(Owner(kind, name, "read"))
    }
    assert unknown == {("task", "(not found)")}


@pytest.mark.parametrize(
    ("loop_thread", "handler", "inside"),
    [(None, None, None), (7, "a generator", None), (7, None, "an operation in C")],
)
def test_what_no_tracer_tears_out(loop_thread: Any, handler: Any, inside: Any) -> None:
    """A thread's direction, that of a handler at its yield, and one owned by the compiled core."""
    direction: Any = types.SimpleNamespace(
        stream=types.SimpleNamespace(handler=handler),
        loop_thread=loop_thread,
        inside=inside,
        turns=None,
        taken=True,
    )
    assert not guard_torn.give_back(direction)
    assert direction.taken


async def test_places_of_owners_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of where owners were found does not grow."""
    monkeypatch.setattr(guard_owners, "_OUTERMOST_KEPT", 1)
    for coroutine in (asyncio.sleep(0), asyncio.sleep(0)):
        guard_owners._remember(coroutine)
        await coroutine
    assert len(guard_owners._outermost) == 1


def test_owner_on_no_loop() -> None:
    """A stream that knows no loop has no task that could be found."""
    direction = AioDirection(Stream("/x", "client", "aio", Mode.RAISE), Way.READ)
    direction.taken = True
    owner = guard_owners.owner_of(direction)
    assert owner is not None
    assert owner.name == "(not found)"


async def test_chain_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of awaits that is not searched to its end may hold an operation."""
    monkeypatch.setattr(guard_owners, "CHAIN_LENGTH", 1)

    async def outer() -> None:
        await asyncio.sleep(0)

    coroutine = outer()
    coroutine.send(None)
    idle = guard_owners.idle_type(asyncio.get_running_loop())
    assert guard_owners._is_in_operation(coroutine, idle)
    coroutine.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_a_fork_while_an_owner_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, found: Callable[[], Any]
) -> None:
    """The child reports its own conflicts, even if a thread of its parent was in a report."""
    looking = Gate()

    def look(direction: Any) -> Any:
        if threading.current_thread().name == "second":
            looking.park()
        return last_owner_of(direction)

    def collide(name: str) -> Any:
        gate = Gate()
        call = sync_calls.responses_of(
            Plain(gate.park), Stream("/a/b", "client", "sync", Mode.RAISE)
        )
        owner = in_thread(next, call)
        with gate.held():
            told = in_thread(next, call, name=name).exception()
        owner.result()
        return told

    monkeypatch.setattr(guard_owners, "last_owner_of", look)
    second = in_thread(collide, "second", name="parent")
    with looking.held():
        assert in_child(lambda: type(collide("third")).__name__) == "ConcurrencyError"
    assert isinstance(second.result(), ConcurrencyError)
    found()
