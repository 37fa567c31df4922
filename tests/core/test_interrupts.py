"""No exception, wherever it arrives, leaves a direction owned or a waiter waiting for ever."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import random
import signal
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from inside import (
    OPERATIONS,
    AioDirection,
    Direction,
    Handlers,
    IteratorFromFunction,
    Mode,
    SyncFields,
    Ticket,
    Way,
    aio_calls,
    aio_given,
    aio_handlers,
    cancellations,
    core_fields,
    core_turns,
    cpython_door,
    guard_owners,
    guard_torn,
    guard_violations,
    ledger,
)
from support.interrupts import (
    Interrupt,
    code_of,
    interrupt_thread,
    interrupted_by_timer,
    sweep,
    undisturbed,
)
from support.operating import (
    AIO,
    MESSAGE,
    SYNC,
    Plain,
    ThisThread,
    aio_stream,
    client_anext,
    client_async_requests,
    client_next,
    client_read,
    client_requests,
    client_write,
    run_at_once,
    server_read,
    server_responses,
    suspend,
    sync_stream,
)
from support.staging import (
    PATIENCE,
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    outcome,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
)

import grpc_guard

# What CPython says of a coroutine that an interrupt kept from being awaited, and of one that
# arrived inside a finaliser of asyncio's.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*WeakSet:pytest.PytestUnraisableExceptionWarning"
    ),
]

MODES = [Mode.RAISE, Mode.WARN, Mode.SERIALIZE]

# Every function that claims a direction, gives it back, or stands between the two.
GUARD = frozenset(OPERATIONS) | code_of(
    guard_violations.report_conflict,
    guard_violations.report_wait,
    guard_violations._pair,
    guard_owners.party_met,
    guard_owners.party_to_wait,
    ledger.again,
    Ticket.__init__,
    *(
        function
        for function in vars(core_turns).values()
        if isinstance(function, types.FunctionType)
    ),
)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield an event loop that says nothing of interrupts between two of its callbacks."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    yield loop
    finish(loop)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def finish(loop: asyncio.AbstractEventLoop) -> None:
    """Run `loop` until none of its tasks is left; an interrupt may have stopped it early."""
    while tasks := asyncio.all_tasks(loop):
        _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=PATIENCE))
        assert not pending, "a task waits for ever"


async def use(operate: Callable[[], Any]) -> Any:
    try:
        return await operate()
    finally:
        # A call: what is pending comes here, and not inside asyncio, which forgets to say that
        # a task has ended if it is interrupted just then.
        threading.get_ident()


def run_on(loop: asyncio.AbstractEventLoop, operate: Callable[[], Any]) -> Any:
    return loop.run_until_complete(loop.create_task(use(operate)))


def assert_interrupted_at_most(error: BaseException | None) -> None:
    assert error is None or type(error) is Interrupt, repr(error)


def assert_unowned(direction: Direction) -> None:
    assert direction.is_free
    assert direction.turns is None or not direction.turns.queue


# At every instruction


class Busy(Plain):
    """Its sync operations execute some instructions: those of the compiled core execute no others."""

    def __next__(self) -> bytes:
        for _ in range(3):
            threading.get_ident()
        return MESSAGE

    initial_metadata = __next__

    def send(self, response: bytes) -> None:
        self.__next__()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", SYNC)
def test_interrupt_of_a_sync_operation(make: Any, mode: Mode) -> None:
    """Interrupted at any instruction, a sync operation leaves its direction free."""
    for injection in sweep(GUARD | code_of(Busy.__next__, Busy.send)):
        subject = make(Busy(), sync_stream(mode))
        assert_interrupted_at_most(injection.run(subject.operate))
        assert_unowned(subject.direction)
        assert subject.operate() in (MESSAGE, None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", AIO)
def test_interrupt_of_an_aio_operation(
    make: Any, mode: Mode, loop: asyncio.AbstractEventLoop
) -> None:
    """Interrupted at any instruction, an aio operation leaves its direction free."""
    for injection in sweep(GUARD | code_of(Plain.read, suspend)):
        subject = make(Plain(), aio_stream(mode, loop))
        error = injection.run(functools.partial(run_on, loop, subject.operate))
        assert_interrupted_at_most(error)
        finish(loop)
        assert_unowned(subject.direction)
        assert run_on(loop, subject.operate) in (MESSAGE, None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_told", [False, True])
def test_interrupt_of_the_operation_after_a_cancelled_one(
    is_told: bool, mode: Mode, loop: asyncio.AbstractEventLoop, found: Any
) -> None:
    """An operation that is interrupted while it is reported leaves its direction free as well."""
    codes = GUARD | code_of(cancellations._look_at_token, cancellations._after_use)
    origin = cancellations.note_party("read")
    for injection in sweep(codes):
        stream = aio_stream(mode, loop)
        subject = client_read(Plain(), stream)
        cancellation = cancellations._Cancellation(origin)
        cancellation.was_reported = is_told
        cancellations._cancellations[stream] = {subject.direction.way: cancellation}
        subject.direction.__class__ = cancellations.Broken
        error = injection.run(functools.partial(run_on, loop, subject.operate))
        assert_interrupted_at_most(error)
        finish(loop)
        assert_unowned(subject.direction)
        assert run_on(loop, subject.operate) == MESSAGE
        assert type(subject.direction) is AioDirection
    assert {finding.rule for finding in found()} == (set() if is_told else {"cancelled-read"})


@pytest.mark.parametrize("mode", MODES)
def test_interrupt_of_a_generator_handler(mode: Mode, loop: asyncio.AbstractEventLoop) -> None:
    """Interrupted at any instruction, a handler that yields leaves the writing direction free."""

    async def handler(request: bytes, context: Any) -> Any:
        yield MESSAGE
        await suspend()
        yield MESSAGE

    async def serve() -> None:
        responses = aio_handlers._generate(
            Handlers(None), stream, context, handler(MESSAGE, context)
        )
        try:
            async for _ in responses:  # gRPC writes here
                await suspend()
        finally:
            await responses.aclose()

    for injection in sweep(GUARD):
        stream = aio_stream(mode, loop)
        context = aio_given.Context(Plain(), stream)
        error = injection.run(functools.partial(run_on, loop, serve))
        assert_interrupted_at_most(error)
        finish(loop)
        assert_unowned(context._self_write)
        stream.ended = False
        run_on(loop, serve)


# While others want the same direction


class Parked(Plain):
    """The first operation parks at a gate, all others complete."""

    def __init__(self, park: Callable[[], Any]) -> None:
        super().__init__()
        self._parks = iter([park])

    def __next__(self) -> bytes:
        for park in self._parks:
            park()
        return MESSAGE

    async def read(self) -> bytes:
        for park in self._parks:
            await park()
        return MESSAGE

    __anext__ = read


@contextmanager
def reporting_to(sink: Callable[[Any], None]) -> Iterator[None]:
    ledger.add_sink(sink)
    try:
        yield
    finally:
        ledger.remove_sink(sink)


def test_interrupt_of_a_waiting_thread(found: Any) -> None:
    """A thread that is interrupted on its way to its turn blocks neither the owner nor the next."""

    def on_finding(finding: Any) -> None:
        reports.append(finding)
        if len(reports) == 1:  # the main thread waits now: let another one wait behind it
            behind.append(in_thread(subject.operate, name="behind"))
            wait(both_wait)
            gate.open()
        else:
            both_wait.set()

    for injection in sweep(GUARD):
        gate, both_wait = Gate(), threading.Event()
        reports: list[Any] = []
        behind: list[Any] = []
        subject = client_next(Parked(gate.park), sync_stream(Mode.SERIALIZE))
        owner = in_thread(subject.operate, name="owner")
        gate.wait()
        with reporting_to(on_finding):
            assert_interrupted_at_most(injection.run(subject.operate))
            gate.open()
            assert [party.result() for party in (owner, *behind)] == [MESSAGE] * (1 + len(behind))
        assert_unowned(subject.direction)
        assert subject.operate() == MESSAGE
    assert behind
    found()


def test_interrupt_of_an_owning_thread(found: Any) -> None:
    """A party that waits for a thread gets its turn, wherever that thread is interrupted."""

    def admit_another() -> None:
        waiters.append(in_thread(subject.operate, name="waiter"))
        wait(waits)

    for injection in sweep(GUARD):
        waits = threading.Event()
        waiters: list[Any] = []
        subject = client_next(Parked(admit_another), sync_stream(Mode.SERIALIZE))
        with reporting_to(lambda finding, waits=waits: waits.set()):  # type: ignore[misc]
            assert_interrupted_at_most(injection.run(subject.operate))
            assert subject.operate() == MESSAGE
            assert [waiter.result() for waiter in waiters] == [MESSAGE]
        assert_unowned(subject.direction)
    found()


@pytest.mark.parametrize("make", [client_read, client_anext, client_write, server_read])
def test_interrupt_of_one_of_three_tasks(
    make: Any, loop: asyncio.AbstractEventLoop, found: Any
) -> None:
    """Interrupted at any instruction, one of three tasks in line keeps no other from its turn."""

    async def contend() -> None:
        for name in ("first", "second", "third"):
            tasks.append(asyncio.create_task(use(subject.operate), name=name))
            await settle()
        gate.open()
        await asyncio.wait(tasks, timeout=PATIENCE)

    for injection in sweep(GUARD):
        tasks: list[asyncio.Task[Any]] = []
        gate = run_on(loop, _make_gate)
        subject = make(Parked(gate.park), aio_stream(Mode.SERIALIZE, loop))
        assert_interrupted_at_most(injection.run(functools.partial(run_on, loop, contend)))
        gate.open()
        finish(loop)
        errors = [error for task in tasks if (error := task.exception()) is not None]
        assert [type(error) for error in errors] in ([], [Interrupt])
        assert_unowned(subject.direction)
        assert run_on(loop, subject.operate) in (MESSAGE, None)
    assert len(tasks) == 3
    found()


async def _make_gate() -> AsyncGate:
    return AsyncGate()


def _codes_of_package() -> frozenset[types.CodeType]:
    """Return all code of the guard: what composes, records and raises a finding, too."""

    def nested(code: types.CodeType) -> Iterator[types.CodeType]:
        yield code
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from nested(constant)

    functions = [
        function
        for name, module in sys.modules.items()
        if name.startswith("grpc_guard.")
        for holder in [module, *(kind for kind in vars(module).values() if type(kind) is type)]
        for function in vars(holder).values()
        if isinstance(function, types.FunctionType) and function.__module__.startswith("grpc_guard")
        if function.__name__ != "__del__"  # CPython swallows what arrives in a finaliser
    ]
    return frozenset(code for function in functions for code in nested(function.__code__))


@pytest.mark.parametrize("mode", MODES)
def test_interrupt_of_a_refused_call(mode: Mode, found: Any) -> None:
    """Interrupted anywhere while its finding is made, a caller harms neither owner nor ledger."""
    codes = _codes_of_package() | code_of(guard_owners.owner_of, ledger.record)
    for injection in sweep(codes, step=41):
        gate = Gate()
        subject = client_next(Parked(gate.park), sync_stream(mode))
        owner = in_thread(subject.operate, name="owner")
        gate.wait()
        with reporting_to(lambda finding, gate=gate: gate.open()):  # type: ignore[misc]
            error = injection.run(subject.operate)
        assert error is None or type(error) in (Interrupt, grpc_guard.ConcurrencyError)
        gate.open()
        assert owner.result() == MESSAGE
        assert_unowned(subject.direction)
        assert in_thread(subject.operate).result() == MESSAGE
        assert in_thread(found).result() is not None  # the ledger is not locked


# At the limit of recursion, where every call fails


def _cold(operate: Any) -> Callable[[], Any]:
    """Return a function, maybe with its argument, as if it were called for the first time.

    CPython specialises code that runs often, and a specialised call may need less stack.
    """
    arguments = getattr(operate, "args", ())
    called = getattr(operate, "func", operate)
    if not isinstance(called, (types.FunctionType, types.MethodType)):
        called = called.__call__
    plain = getattr(called, "__func__", called)
    if not hasattr(plain, "__code__"):
        return operate  # type: ignore[no-any-return]  # compiled: it is always as cold
    cold: Any = types.FunctionType(
        plain.__code__.replace(), plain.__globals__, plain.__name__, closure=plain.__closure__
    )
    if plain is not called:
        cold = types.MethodType(cold, called.__self__)
    return functools.partial(cold, *arguments)


def _at_depth(depth: int, function: Callable[[], Any]) -> Any:
    return _at_depth(depth - 1, function) if depth else function()


def _depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", SYNC)
def test_operation_at_the_recursion_limit(make: Any, mode: Mode) -> None:
    """An operation that fails for want of stack gives back what it claimed."""
    room = sys.getrecursionlimit() - _depth()
    failures = 0
    for depth in range(room - 40, room + 2):  # of those in C only the step needs a frame
        subject = make(Plain(), sync_stream(mode))
        try:
            _at_depth(depth, _cold(subject.operate))
        except RecursionError:
            failures += 1
        assert_unowned(subject.direction)
    assert 0 < failures < 42


@pytest.mark.parametrize("make", AIO)
def test_aio_operation_at_the_recursion_limit(make: Any) -> None:
    """An aio operation that fails for want of stack gives back what it claimed."""
    room = sys.getrecursionlimit() - _depth()
    failures = 0
    for depth in range(room - 40, room):
        subject = make(Plain(steps=0), aio_stream(Mode.RAISE, ThisThread()))  # type: ignore[arg-type]
        coroutine = _cold(subject.operate)()
        try:
            _at_depth(depth, functools.partial(run_at_once, coroutine))
        except RecursionError:
            failures += 1
        coroutine.close()
        assert_unowned(subject.direction)
    assert 0 < failures < 40


# At random


ROUNDS = 1000


needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no such signals here")


@needs_timer
@pytest.mark.parametrize("mode", MODES)
def test_signals_at_random(mode: Mode) -> None:
    """A signal handler that raises, at any moment, leaves the direction free."""
    moments = random.Random(1)
    subject = client_next(Plain(), sync_stream(mode))
    subject.operate()
    with interrupted_by_timer() as interrupt_in:
        for _ in range(ROUNDS):
            with pytest.raises(Interrupt):
                interrupt_in(moments.uniform(1e-6, 1e-4))
                while True:
                    subject.operate()
            assert_unowned(subject.direction)


@needs_timer
@pytest.mark.parametrize("make", [client_read, client_write, server_read])
def test_signals_at_random_in_coroutines(make: Any) -> None:
    """A signal handler that raises, at any moment, leaves the direction of a coroutine free."""
    moments = random.Random(2)
    subject = make(Plain(steps=0), aio_stream(Mode.RAISE, ThisThread()))  # type: ignore[arg-type]
    run_at_once(subject.operate())
    with interrupted_by_timer() as interrupt_in:
        for _ in range(ROUNDS):
            with pytest.raises(Interrupt):
                interrupt_in(moments.uniform(1e-6, 1e-4))
                while True:
                    run_at_once(subject.operate())
            assert_unowned(subject.direction)


@pytest.fixture
def eager_switching() -> Iterator[None]:
    """Let threads take turns after few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with undisturbed():
        yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [client_next, client_requests, server_responses])
def test_exceptions_at_random_in_a_thread(make: Any, mode: Mode, eager_switching: None) -> None:
    """An exception that another thread throws in, at any moment, leaves the direction free."""
    subject = make(Plain(), sync_stream(mode))
    subject.operate()
    answers: list[bool] = []
    told = threading.Semaphore(0)

    def work() -> None:
        sys.settrace(None)  # undisturbed, too
        while len(answers) < ROUNDS:
            try:
                told.release()
                while True:
                    subject.operate()
            except Interrupt:
                answers.append(subject.direction.is_free)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    for thrown in range(ROUNDS):
        assert told.acquire(timeout=PATIENCE)  # it works, and no exception is on its way
        assert len(answers) == thrown
        interrupt_thread(worker.ident or 0)
    worker.join(PATIENCE)
    assert answers == [True] * ROUNDS


# Tracers


class RaisingTracer:
    """A trace or profile function in which a signal handler raises, at event `number` of `codes`."""

    def __init__(
        self,
        number: int,
        codes: frozenset[types.CodeType],
        error: type[BaseException] = Interrupt,
    ) -> None:
        self._left = number
        self._codes = codes
        self._error = error

    @property
    def fired(self) -> bool:
        return self._left < 0

    def __call__(self, frame: types.FrameType, event: str, argument: object) -> Any:
        if frame.f_code in self._codes:
            self._left -= 1
            if self._left == -1:
                raise self._error
        return self


STEPS = code_of(Plain.__next__, Plain.initial_metadata, Plain.send)


class Suspending(Plain):
    """Its coroutines suspend without an event loop."""

    async def read(self) -> bytes:
        await pause()
        return MESSAGE

    __anext__ = read


@types.coroutine
def pause() -> Any:
    yield


def run_to_end(coroutine: Any) -> Any:
    """Run a coroutine as a loop would, with one other party between its steps."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()


def raised_by(tracer: RaisingTracer, install: Any, operate: Callable[[], Any]) -> bool:
    """Do `operate` under `tracer`; tell whether there was anything left to raise in."""
    with undisturbed():
        try:
            try:
                install(tracer)
                operate()
            finally:
                install(None)
        except Interrupt:
            install(None)
    return tracer.fired


INSTALL = pytest.mark.parametrize("install", [sys.settrace, sys.setprofile])
TEARS = sys.version_info < (3, 12)  # a coroutine out of its ``finally``: see _guard/torn.py


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", SYNC)
@INSTALL
def test_signal_in_a_tracer(install: Any, make: Any, mode: Mode) -> None:
    """Wherever a trace function raises what a signal handler raises in it, the direction is free."""
    subject = make(Plain(), sync_stream(mode))
    for number in itertools.count():
        fired = raised_by(RaisingTracer(number, GUARD | STEPS), install, subject.operate)
        assert_unowned(subject.direction)
        if not fired:
            break
    assert number >= (3 if subject.direction.shows_frames else 2)


@pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN])
@pytest.mark.parametrize("make", AIO)
@INSTALL
def test_signal_in_a_tracer_of_coroutines(install: Any, make: Any, mode: Mode, found: Any) -> None:
    """The next operation gets the direction, on 3.11 after the guard finds it has no owner."""
    loop = asyncio.new_event_loop()
    loop._thread_id = threading.get_ident()  # type: ignore[attr-defined]  # passes for running
    subject = make(Suspending(), aio_stream(mode, loop))
    torn = 0
    for number in itertools.count():
        tracer = RaisingTracer(number, GUARD | code_of(Suspending.read))
        fired = raised_by(tracer, install, lambda: run_to_end(subject.operate()))
        torn += not subject.direction.is_free
        assert run_to_end(subject.operate()) in (MESSAGE, None)
        assert_unowned(subject.direction)
        if not fired:
            break
    loop._thread_id = None  # type: ignore[attr-defined]
    loop.close()
    assert number >= 4
    assert bool(torn) == (TEARS and subject.shows_frame)
    assert found() == []


def test_operations_are_one_line() -> None:
    """A tracer has no line between claim and release, and a traceback shows what is waited for."""
    for code in OPERATIONS:
        assert len({line for _, _, line in code.co_lines()}) == 1, code

    class Failing(Plain):
        def __next__(self) -> bytes:
            raise ZeroDivisionError

    subject = client_next(Failing(), sync_stream(Mode.RAISE))
    with pytest.raises(ZeroDivisionError) as failed:
        subject.operate()
    lines = [frame.line for frame in traceback.extract_tb(failed.value.__traceback__)]
    own = ["return direction.iterator.__next__()"] if subject.direction.shows_frames else []
    assert lines == ["subject.operate()", *own, "raise ZeroDivisionError"]


async def test_turn_that_a_tracer_has_torn_out(found: Any) -> None:
    """Under a trace function, the next operation finds that no party is inside."""
    codes = frozenset({core_turns.take_turn_async.__code__})
    torn = 0
    for number in range(30):
        subject = client_read(Plain(), aio_stream(Mode.SERIALIZE, asyncio.get_running_loop()))
        with undisturbed():
            sys.setprofile(RaisingTracer(number, codes, TimeoutError))
            with contextlib.suppress(TimeoutError):
                await subject.operate()
            sys.setprofile(None)
        torn += not subject.direction.is_free
        sys.setprofile(lambda *_: None)
        try:
            assert await asyncio.wait_for(subject.operate(), PATIENCE) == MESSAGE
        finally:
            sys.setprofile(None)
        assert_unowned(subject.direction)
    assert bool(torn) == TEARS
    assert found() == []


@pytest.mark.parametrize(
    ("kind", "name", "arguments"),
    [(aio_calls.DuplexCall, "read", ()), (aio_calls.QueuedDuplexCall, "done_writing", (MESSAGE,))],
)
def test_suspended_owner_that_no_task_drives(
    kind: Any,
    name: str,
    arguments: tuple[bytes, ...],
    found: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A coroutine that is driven by hand is inside, though no task awaits it, and others come first."""
    instances, other = guard_torn.heap.instances, Suspending().read()
    other.send(None)
    monkeypatch.setattr(guard_torn.heap, "instances", lambda kinds: [other, *instances(kinds)])
    loop = asyncio.new_event_loop()
    loop._thread_id = threading.get_ident()  # type: ignore[attr-defined]
    call = kind(Suspending(), aio_stream(Mode.RAISE, loop))
    owner = getattr(call, name)()
    owner.send(None)
    with pytest.raises(grpc_guard.ConcurrencyError):  # a queued write asks for nothing of its own
        run_to_end(call.write(*arguments) if arguments else call.read())
    assert run_to_end(owner) in (MESSAGE, None)
    run_to_end(other)
    loop._thread_id = None  # type: ignore[attr-defined]
    loop.close()
    found()


@pytest.mark.skipif(not SyncFields.shows_frames, reason="no tracer sees the variables of C")
@pytest.mark.parametrize("event", ["call", "return"])
@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile])
def test_tracer_that_reads_variables(install: Any, event: str, found: Any) -> None:
    """What a tracer has seen of the token is not written back over what another thread has done."""
    gate = Gate()
    subject = client_next(Parked(gate.park), sync_stream(Mode.RAISE))
    owner = in_thread(subject.operate, name="owner")
    gate.wait()

    def trace(frame: types.FrameType, happened: str, argument: object) -> Any:
        if frame.f_code is subject.operate.__code__ and happened == event:  # type: ignore[attr-defined]
            frame.f_locals  # noqa: B018  # the interpreter writes back what was seen
            gate.open()
            assert owner.result() == MESSAGE  # and now it is
        return trace

    def operate() -> Any:
        install(trace)
        try:
            return outcome(subject.operate)
        finally:
            install(None)

    answer = in_thread(operate, name="traced").result()
    found()
    assert isinstance(answer, grpc_guard.ConcurrencyError) == (event == "return")
    assert_unowned(subject.direction)


def test_code_that_calls_nothing() -> None:
    """Code of one line that neither awaits nor calls anything stands on its first line."""

    def nothing(one: object, other: object) -> object:
        if one:
            return other
        return None

    first = nothing.__code__.co_firstlineno
    code = cpython_door.on_one_line(nothing.__code__)
    assert {line for _, _, line in code.co_lines()} == {first}


# Cancellation, at every await


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", AIO)
async def test_cancellation_after_each_step(make: Any, mode: Mode, found: Any) -> None:
    """Cancelled after any of its steps, an operation leaves its direction free."""
    cancelled = []
    for steps in range(16):
        subject = make(Plain(steps=4), aio_stream(mode, asyncio.get_running_loop()))
        task = asyncio.create_task(subject.operate())
        for _ in range(steps):
            await settle()
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        cancelled.append(task.cancelled())
        assert_unowned(subject.direction)
        assert await subject.operate() in (MESSAGE, None)
    assert True in cancelled
    assert False in cancelled
    assert cancelled == sorted(cancelled, reverse=True)
    assert {finding.rule for finding in found()} <= {"cancelled-read"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", AIO)
async def test_time_out(make: Any, mode: Mode, found: Any) -> None:
    """An operation that times out leaves its direction free."""
    gate = AsyncGate()
    plain = Plain()
    plain.read = gate.park  # type: ignore[method-assign]
    if make in (client_anext, client_async_requests):
        plain = Parked(gate.park)
    subject = make(plain, aio_stream(mode, asyncio.get_running_loop()))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(subject.operate(), 0.001)
    assert_unowned(subject.direction)
    gate.open()
    assert await subject.operate() in (MESSAGE, None)
    assert {finding.rule for finding in found()} <= {"cancelled-read"}


@pytest.mark.parametrize("victim", [0, 1, 2])
@pytest.mark.parametrize("make", [client_read, client_anext, client_write])
async def test_cancellation_in_line(make: Any, victim: int, found: Any) -> None:
    """Whichever of three tasks in line is cancelled, and when, the others get their turns."""
    for opened_after in range(6):
        for cancelled_after in range(12):
            gate = AsyncGate()
            plain = Parked(gate.park)
            subject = make(plain, aio_stream(Mode.SERIALIZE, asyncio.get_running_loop()))
            tasks = [asyncio.create_task(subject.operate()) for _ in range(3)]
            for step in range(12):
                if step == opened_after:
                    gate.open()
                if step == cancelled_after:
                    tasks[victim].cancel()
                await settle()
            _, pending = await asyncio.wait(tasks, timeout=PATIENCE)
            assert not pending
            others = [task.result() for task in tasks if task is not tasks[victim]]
            assert len(others) == 2
            assert_unowned(subject.direction)
            assert await subject.operate() in (MESSAGE, None)
    found()


async def test_closing_of_a_suspended_operation() -> None:
    """A coroutine that is thrown away inside an operation leaves its direction free."""
    subject = client_read(Plain(), aio_stream(Mode.RAISE, asyncio.get_running_loop()))
    coroutine = subject.operate()
    coroutine.send(None)
    assert not subject.direction.is_free
    coroutine.close()
    assert_unowned(subject.direction)


# With a real server


@needs_timer
def test_signal_during_next_of_a_real_call() -> None:
    """A signal handler that raises during next() leaves the call to the next reader."""

    def raise_interrupt(number: int, frame: Any) -> None:
        raise Interrupt

    def hold(request: bytes, context: Any) -> Iterator[bytes]:
        wait(release)
        yield MESSAGE

    main = threading.main_thread().ident
    assert main is not None
    inside, release = threading.Event(), threading.Event()
    before = signal.signal(signal.SIGALRM, raise_interrupt)
    try:
        with (
            sync_server({"Hold": grpc.unary_stream_rpc_method_handler(hold)}) as address,
            sync_channel(address) as channel,
        ):
            call = channel.unary_stream(path("Hold"))(MESSAGE)
            step = call._self_read.iterator.__next__

            def enter() -> bytes:
                inside.set()
                return step()  # type: ignore[no-any-return]

            def strike() -> None:
                wait(inside)
                signal.pthread_kill(main, signal.SIGALRM)

            call._self_read.iterator = IteratorFromFunction(enter)
            striker = in_thread(strike)
            with pytest.raises(Interrupt):
                next(call)
            striker.result()
            assert grpc_guard.status(call).read is None
            call.cancel()
            with pytest.raises(grpc.RpcError) as caught:
                list(call)
            assert caught.value.code() is grpc.StatusCode.CANCELLED
            release.set()
    finally:
        signal.signal(signal.SIGALRM, before)


async def test_cancellation_of_a_real_read_after_each_step(found: Any) -> None:
    """Cancelled after any of its steps, the read of a real call leaves the direction free."""
    release = asyncio.Event()

    async def hold(request: bytes, context: Any) -> None:
        await release.wait()

    async with (
        aio_server({"Hold": grpc.unary_stream_rpc_method_handler(hold)}) as address,
        aio_channel(address) as channel,
    ):
        for steps in range(10):
            call = channel.unary_stream(path("Hold"))(MESSAGE)
            task = asyncio.create_task(call.read())
            for _ in range(steps):
                await settle()
            task.cancel()
            await asyncio.wait([task], timeout=PATIENCE)
            assert task.cancelled()
            assert grpc_guard.status(call).read is None
            if steps:  # grpcio ends an RPC whose read was cancelled
                with pytest.raises(asyncio.CancelledError):
                    await call.read()
            else:
                call.cancel()
        release.set()
    assert {finding.rule for finding in found()} == {"cancelled-read"}


# Only what is asked for is kept


def test_interrupted_construction_of_a_direction() -> None:
    """A direction whose construction is interrupted is finalised without a complaint."""
    codes = code_of(core_fields.AioFields.__init__, AioDirection._equip)  # the latter of both cores
    for injection in sweep(codes):
        stream = sync_stream(Mode.SERIALIZE)
        made: list[weakref.ref[Any]] = []
        assert_interrupted_at_most(
            injection.run(lambda stream=stream: AioDirection(stream, Way.READ))  # type: ignore[misc]
        )
        assert not made
