"""Mode serialize: first come, first served, and no wake-up is ever lost."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from inside import (
    Handlers,
    Stream,
    Ticket,
    aio_calls,
    aio_given,
    aio_handlers,
    core_fields,
    core_turns,
    extras,
    guard_violations,
    ledger,
    steps,
    sync_calls,
    sync_handlers,
)
from support.staging import PATIENCE, AsyncGate, Gate, in_thread, settle, within

from grpc_guard import ConcurrencyError, Finding, Mode


class Plain:
    """A stream of numbers; `park` is done during the first operation."""

    def __init__(self, park: Any) -> None:
        self._parks = iter([park])
        self._number = 0

    def _next(self) -> int:
        self._number += 1
        return self._number

    def __next__(self) -> int:
        for park in self._parks:
            park()
        return self._next()

    def is_active(self) -> bool:
        return True

    async def read(self) -> int:
        for park in self._parks:
            await park()
        return self._next()

    write = None

    def cancel(self) -> bool:
        return True

    def done(self) -> bool:
        return False


def sync_call(park: Any) -> Any:
    return sync_calls.responses_of(Plain(park), Stream("/x", "client", "sync", Mode.SERIALIZE))


def aio_call(park: Any) -> Any:
    loop = asyncio.get_running_loop()
    return aio_calls.DuplexCall(Plain(park), Stream("/x", "client", "aio", Mode.SERIALIZE, loop))


@contextmanager
def told_to(sink: Any) -> Iterator[None]:
    ledger.add_sink(sink)
    try:
        yield
    finally:
        ledger.remove_sink(sink)


def test_threads_in_line(found: Any) -> None:
    """Threads that wait get their turns in the order in which they came, each told once."""
    gate = Gate()
    call = sync_call(gate.park)
    waits = threading.Semaphore(0)
    with told_to(lambda finding: waits.release()):
        parties = [in_thread(next, call, name="party 1")]
        gate.wait()
        for number in range(2, 6):
            parties.append(in_thread(next, call, name=f"party {number}"))
            assert waits.acquire(timeout=PATIENCE)  # it is in line now
        gate.open()
        assert [party.result() for party in parties] == [1, 2, 3, 4, 5]
    assert sum(finding.count for finding in found()) == 4
    assert not waits.acquire(blocking=False)


async def test_tasks_in_line(found: Any) -> None:
    """Tasks that wait get their turns in the order in which they came, each told once."""
    gate = AsyncGate()
    call = aio_call(gate.park)
    tasks = [asyncio.create_task(call.read()) for _ in range(5)]
    await settle()
    gate.open()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]
    assert sum(finding.count for finding in found()) == 4


async def test_stack_of_the_party_inside(found: Any) -> None:
    """Whoever has to wait is told all of the stack of the party inside, not its line alone."""

    async def fetch() -> None:
        await call.read()

    async def consume() -> None:
        await fetch()

    gate = AsyncGate()
    call = aio_call(gate.park)
    inside = asyncio.create_task(consume())
    async with gate.held():
        waiting = asyncio.create_task(call.read())
        await settle()
    await asyncio.wait_for(asyncio.gather(inside, waiting), PATIENCE)
    (finding,) = found()
    assert [frame.function for frame in finding.owner.stack] == ["consume", "fetch"]


async def test_newcomer_while_the_next_wakes_up(found: Any) -> None:
    """A caller that finds the direction free but promised waits too; its report names the next."""
    newcomers: list[asyncio.Task[Any]] = []

    async def newcomer() -> Any:
        return await call.read()

    async def park() -> None:
        await gate.park()
        # Its first step comes after this operation, and before the one that waits wakes up.
        newcomers.append(asyncio.create_task(newcomer(), name="newcomer"))

    gate = AsyncGate()
    call = aio_call(park)
    owner = asyncio.create_task(call.read(), name="owner")
    await gate.wait()
    waiting = asyncio.create_task(call.read(), name="waiting")
    await settle()
    gate.open()
    assert await asyncio.wait_for(asyncio.gather(owner, waiting), PATIENCE) == [1, 2]
    assert await asyncio.wait_for(newcomers[0], PATIENCE) == 3
    finding = found()[-1]
    assert finding.message.startswith(
        "concurrent-read: read by task 'newcomer' on /x (client, aio) made to wait: "
        "task 'waiting' has been waiting for its turn in read for "
    )
    assert finding.owner.name == "waiting"


def test_failure_of_the_owner(found: Any) -> None:
    """When the owner's operation fails, the next one gets its turn."""

    def fail() -> None:
        gate.park()
        raise OSError("broken")

    gate = Gate()
    call = sync_call(fail)
    owner = in_thread(next, call)
    gate.wait()
    with told_to(lambda finding: gate.open()):
        assert next(call) == 1
    assert type(owner.exception()) is OSError
    found()


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="no signals here")
def test_operation_that_interrupts_another(found: Any) -> None:
    """A signal handler cannot wait for the operation it interrupted: it is refused."""
    errors: list[BaseException] = []

    def handler(number: int, frame: Any) -> None:
        try:
            next(call)
        except ConcurrencyError as error:
            errors.append(error)

    def interrupt() -> None:
        signal.raise_signal(signal.SIGTERM)

    call = sync_call(interrupt)
    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert next(call) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [type(error) for error in errors] == [ConcurrencyError]
    (finding,) = found()
    assert " refused: thread 'MainThread' has been in next for " in finding.message
    assert finding.owner.site.function == "test_operation_that_interrupts_another"


def test_leaving_while_nobody_waits() -> None:
    """An operation that met no other leaves no trace."""
    call = sync_call(lambda: None)
    assert [next(call), next(call)] == [1, 2]
    assert not call._self_read.turns.queue


# Callers that can never get their turn


def test_operation_that_interrupts_one_in_line(found: Any) -> None:
    """A signal handler cannot wait behind its own thread, which waits: it is refused."""
    main = threading.main_thread().ident
    assert main is not None
    errors: list[ConcurrencyError] = []

    def handler(number: int, frame: Any) -> None:
        with pytest.raises(ConcurrencyError) as caught:
            next(call)
        errors.append(caught.value)
        gate.open()

    gate = Gate()
    call = sync_call(gate.park)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        owner = in_thread(next, call, name="owner")
        gate.wait()
        struck: list[Finding] = []

        def strike(finding: Finding) -> None:
            struck.append(finding)
            if len(struck) == 1:  # in line now
                in_thread(signal.pthread_kill, main, signal.SIGUSR1)

        with told_to(strike):
            assert next(call) == 2
        assert owner.result() == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(errors) == 1
    assert errors[0].finding.message.endswith(
        ", and the caller interrupts an operation of its own thread on this stream"
    )
    assert errors[0].finding.owner is not None
    assert errors[0].finding.owner.name == "owner"
    found()


def test_finaliser_in_line_for_another_stream(found: Any) -> None:
    """A finaliser that interrupts a waiting operation may wait for its turn on another stream."""
    gate, other_gate = Gate(), Gate()
    call, other = sync_call(gate.park), sync_call(other_gate.park)
    owners = [in_thread(next, call), in_thread(next, other)]
    gate.wait()
    other_gate.wait()
    got: list[int] = []

    class Dropped:
        def __del__(self) -> None:
            got.append(next(other))

    dropped = [Dropped()]

    def on_finding(finding: Finding) -> None:
        if dropped:
            dropped.clear()
            gate.open()
        else:
            other_gate.open()

    with told_to(on_finding):
        assert next(call) == 2
    assert [owner.result() for owner in owners] == [1, 1]
    assert got == [2]
    found()


def test_thread_that_comes_back(found: Any) -> None:
    """If a thread comes again while another is next, its report names that one, never itself."""
    gate = Gate()
    call = sync_call(gate.park)
    turns = call._self_read.turns
    owner = in_thread(lambda: [next(call), next(call)], name="again and again")
    gate.wait()
    waits = threading.Semaphore(0)

    def on_finding(finding: Finding) -> None:
        if finding.caller.name == "waiting":
            waits.release()

    with told_to(on_finding):
        waiting = in_thread(next, call, name="waiting")
        assert waits.acquire(timeout=PATIENCE)
        gate.open()
        assert sorted([waiting.result(), *owner.result()]) == [1, 2, 3]
    assert turns is not None
    assert all(finding.owner.name != finding.caller.name for finding in found())


def test_party_that_has_just_left_is_nobody_else(found: Any) -> None:
    """If only the caller itself was there before, no party is named."""
    call = sync_call(lambda: None)
    direction = call._self_read
    assert next(call) == 1
    direction.turns.token.pop()  # a party is there, and gone when it is searched

    def leave(finding: Finding) -> None:
        direction.turns.token += (0,)

    def report(direction: Any, ticket: Any) -> None:
        direction.turns.token += (0,)
        guard_violations.report_wait(direction, ticket)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guard_violations._Guard, "report_wait", staticmethod(report))
        assert next(call) == 2
    (finding,) = found()
    assert finding.owner is None
    assert finding.message.endswith("another operation had the direction and has just left it")


# Waiting, while the handler ends


def test_handler_that_returned_meanwhile(found: Any) -> None:
    """A thread that waits while the handler ends is refused as any that comes later."""
    gate = Gate()
    stream = Stream("/x", "server", "sync", Mode.SERIALIZE)
    requests = sync_handlers.requests_of(Plain(gate.park), stream)
    owner = in_thread(next, requests)
    gate.wait()

    def end(finding: Finding) -> None:
        stream.ended = True
        gate.open()

    with told_to(end), pytest.raises(ConcurrencyError) as caught:
        next(requests)
    assert caught.value.finding.rule == "handler-returned"
    assert owner.result() == 1
    assert stream.read is not None
    assert stream.read.is_free
    assert {finding.rule for finding in found()} == {"concurrent-read", "handler-returned"}


async def test_aio_handler_that_returned_meanwhile(found: Any) -> None:
    """A task that waits while the handler ends is refused; the next in line is woken."""
    gate = AsyncGate()
    stream = Stream("/x", "server", "aio", Mode.SERIALIZE, asyncio.get_running_loop())
    context = aio_given.Context(Plain(gate.park), stream)
    tasks = [asyncio.create_task(context.read()) for _ in range(3)]
    await settle()
    stream.ended = True
    gate.open()
    got = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
    assert got[0] == 1
    assert [error.finding.rule for error in got[1:]] == ["handler-returned"] * 2
    assert context._self_read.is_free
    found()


def test_client_whose_rpc_ended_meanwhile(found: Any) -> None:
    """A client that waits while the RPC ends is told what the plain call tells."""

    def end() -> None:
        gate.park()
        raise StopIteration

    gate = Gate()
    call = sync_call(end)
    owner = in_thread(lambda: next(call, "end"))
    gate.wait()
    with told_to(lambda finding: gate.open()):
        assert next(call) == 1
    assert owner.result() == "end"
    found()


# What waiting costs


async def test_meetings_of_the_same_places_are_composed_once(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """If tasks meet at the same two lines, one report is composed and every meeting counted."""
    composed = []
    compose = guard_violations.new_finding

    def counting(*args: Any, **kwargs: Any) -> Finding:
        composed.append(args)
        return compose(*args, **kwargs)

    monkeypatch.setattr(guard_violations, "new_finding", counting)
    call = aio_call(AsyncGateThatIsOpen().park)

    async def read() -> None:
        for _ in range(10):
            await call.read()

    seen: list[int] = []
    with told_to(lambda finding: seen.append(finding.count)):
        await asyncio.wait_for(asyncio.gather(*(read() for _ in range(20))), PATIENCE)
    assert sum(finding.count for finding in found()) == len(seen) >= 190
    assert len(composed) == 1
    assert seen == list(range(1, len(seen) + 1))


def slow_aio_call() -> Any:
    """Return a call in which each read lets other tasks run."""

    class Slow(Plain):
        async def read(self) -> int:
            await asyncio.sleep(0)
            return self._next()

    loop = asyncio.get_running_loop()
    stream = Stream("/x", "client", "aio", Mode.SERIALIZE, loop)
    return aio_calls.DuplexCall(Slow(None), stream)


async def test_meetings_at_two_lines_of_one_function(found: Any) -> None:
    """Each pair of lines has a finding of its own, whichever came first, though the code is the same."""

    call = slow_aio_call()

    async def read(at_second_line: bool) -> None:
        if at_second_line:
            await call.read()
        else:
            await call.read()

    for inside in (False, True):
        for arriving in (False, True):
            tasks = [asyncio.create_task(read(at)) for at in (inside, arriving)]
            await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    assert [finding.count for finding in found()] == [1, 2, 1]


async def test_place_of_a_message_that_waits_behind_the_end_of_sending(found: Any) -> None:
    """Though grpcio queues such messages, it is told with the line of the program that wrote it."""

    class Queued(Plain):
        async def done_writing(self) -> None:
            await gate.park()

        async def write(self, message: bytes) -> None: ...

    async def write() -> None:
        await call.write(b"1")

    gate, loop = AsyncGate(), asyncio.get_running_loop()
    stream = Stream("/x", "client", "aio", Mode.SERIALIZE, loop)
    call: Any = aio_calls.QueuedDuplexCall(Queued(None), stream)
    closing = asyncio.create_task(call.done_writing())
    await gate.wait()
    writing = asyncio.create_task(write())
    await settle()
    (ticket,) = call._self_write.turns.queue
    assert ticket.place[0] is write.__code__
    gate.open()
    await within(asyncio.gather(closing, writing))
    found()


async def test_meetings_in_functions_that_look_alike(found: Any) -> None:
    """Each pair of functions has a finding of its own, whichever came first: their code tells them apart."""
    call = slow_aio_call()

    async def one() -> None:
        await call.read()

    async def other() -> None:
        await call.read()

    for inside, arriving in [(one, one), (one, other), (other, one)]:
        tasks = [asyncio.create_task(inside()), asyncio.create_task(arriving())]
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    assert [finding.count for finding in found()] == [1, 2]


@pytest.mark.parametrize(
    ("is_shared", "watch", "is_placed", "is_known"),
    [
        (True, None, (True, True), True),
        (False, None, (True, True), False),
        (True, "the probe's", (True, True), False),
        (True, None, (False, True), False),
        (True, None, (True, False), False),
    ],
)
def test_which_meetings_are_only_counted_again(
    is_shared: bool, watch: Any, is_placed: tuple[bool, bool], is_known: bool
) -> None:
    """Those whose finding would be the same each time: two places of the program, and no more to tell."""
    direction: Any = SimpleNamespace(is_shared=is_shared, watch=watch)
    here = sys._getframe()
    ticket, met = (Ticket("read", here if placed else None) for placed in is_placed)
    assert (guard_violations._pair(direction, ticket, met) is not None) is is_known


async def test_meetings_at_one_line_that_is_reached_by_two_ways(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """A report is composed for each way: the line is that of a helper, and its callers differ."""
    composed = []
    compose = guard_violations.new_finding

    def counting(*args: Any, **kwargs: Any) -> Finding:
        composed.append(args)
        return compose(*args, **kwargs)

    monkeypatch.setattr(guard_violations, "new_finding", counting)
    call = slow_aio_call()

    async def read() -> None:
        await call.read()

    async def one() -> None:
        await read()

    async def another() -> None:
        await read()

    for inside, arriving in [(one, one), (one, another), (one, one), (another, one)]:
        tasks = [asyncio.create_task(inside()), asyncio.create_task(arriving())]
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    assert len(composed) == 3  # the third meeting is the first one again
    assert sum(finding.count for finding in found()) == 4


class AsyncGateThatIsOpen:
    async def park(self) -> None:
        await asyncio.sleep(0)


async def test_meetings_after_the_findings_were_cleared(found: Any) -> None:
    """After clear_findings(), an earlier finding is new again."""
    call = aio_call(AsyncGateThatIsOpen().park)

    async def read() -> None:
        await call.read()

    for _ in range(2):
        await asyncio.gather(read(), read())
        assert [finding.count for finding in found()] in ([1], [])


async def test_pairs_of_places_are_bounded(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """Lines that meet without end leave no table that grows: one that is full is emptied."""
    monkeypatch.setattr(guard_violations, "_PAIRS_KEPT", 2)
    gate = AsyncGate()
    call = aio_call(gate.park)
    owner = asyncio.create_task(reader(call, 0))
    await gate.wait()
    tasks = [asyncio.create_task(reader(call, number)) for number in range(1, 7)]
    await settle()
    assert len(call._self_read.turns.counted) == 2  # the fifth and the sixth
    gate.open()
    await asyncio.wait_for(asyncio.gather(owner, *tasks), PATIENCE)
    assert len(found()) == 6


async def reader(call: Any, number: int) -> None:
    """Read at a line of its own for each `number`."""
    code = "async def read(call):\n" + "\n" * number + "    return await call.read()"
    space: dict[str, Any] = {}
    exec(compile(code, "lines.py", "exec"), space)
    await space["read"](call)


async def test_idle_line_keeps_no_timer(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """Tasks in line sleep until they are woken: nothing is scheduled meanwhile."""
    gate = AsyncGate()
    call = aio_call(gate.park)
    tasks = [asyncio.create_task(call.read()) for _ in range(5)]
    await gate.wait()
    await settle()
    loop: Any = asyncio.get_running_loop()
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]
    assert [timer for timer in timers if "grpc_guard" in repr(timer)] == []
    gate.open()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]
    found()


async def test_task_woken_before_its_turn(found: Any) -> None:
    """A task that is woken although another has the direction waits on."""
    gate = AsyncGate()
    call = aio_call(gate.park)
    tasks = [asyncio.create_task(call.read()) for _ in range(2)]
    await settle()
    call._self_read.turns.queue[0].bell.set_result(None)
    await settle()
    assert not tasks[1].done()
    gate.open()
    assert await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE) == [1, 2]
    found()


@pytest.mark.parametrize("is_known", [False, True])
async def test_owner_that_is_being_cancelled(is_known: bool, found: Any) -> None:
    """A party that waits for a task that is being cancelled has done nothing wrong."""
    gate = AsyncGate()
    call = aio_call(gate.park)

    async def read() -> Any:
        return await call.read()

    owner = asyncio.create_task(read())
    await gate.wait()
    waiting = [read()]
    if is_known:
        waiting[0].send(None)
        assert [finding.count for finding in found()] == [1]
        waiting.append(read())
    owner.cancel()
    waiting[-1].send(None)
    for each in waiting:
        each.close()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert found() == []


def test_wait_on_a_stream_that_is_over(found: Any) -> None:
    """A party that waits on an RPC that is over gets grpcio's error, and not a finding."""
    gate = Gate()
    call = sync_call(gate.park)
    owner = in_thread(next, call)
    gate.wait()
    call.__wrapped__.is_active = lambda: False
    second = in_thread(next, call)
    gate.open()
    assert sorted([owner.result(), second.result()]) == [1, 2]
    assert found() == []


# A wake-up that is interrupted


class BrokenError(RuntimeError):
    """What a signal handler raises."""


@pytest.mark.parametrize("where", ["before", "in asyncio"])
async def test_wake_up_that_is_interrupted(
    where: str, monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """A waker that is interrupted, even inside asyncio, does not leave the next one asleep."""
    loop: Any = asyncio.get_running_loop()

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        raise BrokenError

    async def park() -> None:
        await gate.park()
        if where == "before":
            monkeypatch.setattr(core_turns, "wake", interrupt)
        else:
            monkeypatch.setattr(loop, "call_soon", interrupt)

    gate = AsyncGate()
    call = aio_call(park)
    tasks = [asyncio.create_task(call.read()) for _ in range(3)]
    await gate.wait()
    await settle()
    gate.open()
    got = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
    assert [type(got[0]), *got[1:]] == [BrokenError, 2, 3]
    assert call._self_read.is_free
    found()


async def test_wake_up_that_was_taken_on(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """A waker that is interrupted after asyncio accepted its wake-up wakes no party twice."""
    loop: Any = asyncio.get_running_loop()
    plain = loop.call_soon

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        plain(*args, **kwargs)
        raise BrokenError

    async def park() -> None:
        await gate.park()
        monkeypatch.setattr(loop, "call_soon", interrupt)

    gate = AsyncGate()
    call = aio_call(park)
    tasks = [asyncio.create_task(call.read()) for _ in range(3)]
    await gate.wait()
    await settle()
    gate.open()
    got = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
    assert [type(got[0]), *got[1:]] == [BrokenError, 2, 3]
    found()


async def test_waker_that_is_interrupted_with_nobody_in_line() -> None:
    """If no party waits, there is nothing to repair."""
    call = aio_call(AsyncGateThatIsOpen().park)
    core_turns.wake_after_all(call._self_read.turns)
    assert await call.read() == 1


@pytest.mark.parametrize("in_line", [False, True])
@pytest.mark.parametrize("same_bell", [False, True])
def test_who_is_woken_a_second_time(in_line: bool, same_bell: bool) -> None:
    """Only who is still in line, and waits for the same bell, can have slept through it."""
    bell, woken = object(), list[object]()
    turns, ticket = extras.Turns(), Ticket("read", None)
    ticket.bell = bell if same_bell else object()
    ticket.wakers = [(woken.append, contextvars.copy_context())]
    if in_line:
        turns.queue.append(ticket)
    core_turns._wake_if_asleep(turns, ticket, bell)
    assert woken == [bell] * (in_line and same_bell)


async def test_cancelled_waiter_that_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """A task that leaves the line when its turn has come, and is interrupted then, wakes the next."""

    def interrupt(*args: Any) -> Any:
        monkeypatch.undo()
        raise BrokenError

    async def park() -> None:
        await gate.park()
        tasks[1].cancel()

    gate = AsyncGate()
    call = aio_call(park)
    tasks = [asyncio.create_task(call.read()) for _ in range(4)]
    await gate.wait()
    await settle()
    monkeypatch.setattr(
        core_turns,
        "_after_waiting",
        lambda *args: monkeypatch.setattr(core_turns, "wake", interrupt) or 1 / 0,
    )
    gate.open()
    got = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
    assert [got[0], type(got[1]), type(got[2])] == [1, asyncio.CancelledError, BrokenError]
    assert got[3] == 2
    assert call._self_read.is_free
    assert not call._self_read.turns.queue
    found()


async def test_handler_whose_wake_up_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    """A handler that is interrupted when it goes on after a yield leaves no party asleep."""

    async def handler(request: Any, context: Any) -> Any:
        try:
            yield 1
        except BrokenError:
            yield 2

    def interrupt(*args: Any) -> Any:
        monkeypatch.undo()
        raise BrokenError

    stream = Stream("/x", "server", "aio", Mode.SERIALIZE, asyncio.get_running_loop())
    context: Any = aio_given.Context(Writable(), stream)
    responses = aio_handlers._generate(Handlers(None), stream, context, handler(None, context))
    assert await anext(responses) == 1
    waiting = asyncio.create_task(context.write(b""))
    await settle()
    assert len(context._self_write.turns.queue) == 1
    monkeypatch.setattr(aio_handlers, "wake", interrupt)
    assert await within(anext(responses)) == 2
    await within(waiting)
    await responses.aclose()
    assert context._self_write.is_free
    found()


class Writable:
    """A context to which one can write."""

    async def read(self) -> None: ...

    async def write(self, message: object) -> None: ...


def test_line_of_a_loop_that_is_closed(found: Any) -> None:
    """Operations that are dropped after their loop was closed wake no party."""
    loop = asyncio.new_event_loop()

    async def begin() -> tuple[Any, Any]:
        call = aio_call(AsyncGate().park)
        owner, waiting = call.read(), asyncio.ensure_future(call.read())
        owner.send(None)
        await settle()
        return owner, waiting

    owner, waiting = loop.run_until_complete(begin())
    loop.close()
    owner.close()
    assert not waiting.done()
    waiting.get_coro().close()
    waiting._log_destroy_pending = False
    found()


async def test_joining_the_line_is_interrupted(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """A task that is interrupted before it stands in line has no place there to give up."""
    loop: Any = asyncio.get_running_loop()

    def interrupt() -> Any:
        monkeypatch.undo()
        raise BrokenError

    gate = AsyncGate()
    call = aio_call(gate.park)
    owner = asyncio.create_task(call.read())
    await gate.wait()
    monkeypatch.setattr(loop, "create_future", interrupt)
    with pytest.raises(BrokenError):
        await call.read()
    assert not call._self_read.turns.queue
    gate.open()
    assert [await within(owner), await within(call.read())] == [1, 2]
    assert found() == []


GEVENT = """
import sys, grpc, grpc_guard
grpc_guard.enable("serialize")
from gevent import monkey; monkey.patch_all()
import gevent, logging, time
from concurrent import futures
from grpc.experimental import gevent as grpc_gevent
grpc_gevent.init_gevent()
logging.getLogger("grpc_guard").setLevel(logging.CRITICAL)

def numbers(request, context):
    for number in range(6):
        time.sleep(0.001)
        yield b"%d" % number

server = grpc.server(futures.ThreadPoolExecutor(4))
handlers = dict(m=grpc.unary_stream_rpc_method_handler(numbers))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("s", handlers),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_stream("/s/m")(b"")
got = []
readers = [gevent.spawn(lambda: got.extend(call)) for _ in "ab"]
gevent.joinall(readers, timeout=20)
print(sorted(got), flush=True)
import os; os._exit(0)
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="gevent is asked for where it is known")
def test_gevent_that_patches_later() -> None:
    """Greenlets wait for their turns without the hub, though the guard was there before gevent."""
    pytest.importorskip("gevent")
    ended = subprocess.run(
        [sys.executable, "-c", GEVENT], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stdout.splitlines()[-1:] == ["[b'0', b'1', b'2', b'3', b'4', b'5']"], ended.stderr


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN, Mode.SERIALIZE])
def test_queue_of_a_direction_that_is_counted(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts its operations, as under run, has a queue in mode serialize alone."""
    monkeypatch.setattr(core_fields, "counting", True)
    direction = steps.Responses(Stream("/x", "client", "sync", mode), iter(()))
    assert direction.tally == [0]
    assert (direction.turns is not None) == (mode is Mode.SERIALIZE)
