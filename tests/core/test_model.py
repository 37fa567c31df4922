"""Random schedules of threads and of tasks: at every step the guard says what the model says."""

from __future__ import annotations

import asyncio
import operator
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inside import (
    Handlers,
    IteratorFromFunction,
    Stream,
    aio_calls,
    aio_given,
    aio_handlers,
    ledger,
    steps,
    sync_calls,
    sync_handlers,
)
from support.interrupts import Interrupt, interrupt_thread
from support.model import Model, Party, Verdict
from support.staging import PATIENCE, aio_channel, aio_server, path, sync_channel, sync_server

import grpc_guard
from grpc_guard import ConcurrencyError, Finding, Mode

NAMES = ["ann", "bob", "cid", "dan"]
MODES = [Mode.RAISE, Mode.WARN, Mode.SERIALIZE]
HOUR = 3600.0
SCHEDULE = 30 * PATIENCE  # so long an operation may be in progress: as many steps as a schedule has

pytestmark = pytest.mark.timeout(300)  # a failure takes its time: the schedule is made short


@pytest.fixture(autouse=True)
def requests_come_from_a_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another kind of request iterator may be shared by RPCs: nobody is refused there."""
    monkeypatch.setattr(steps.ClientRequests, "asks_program", False)


def explore(machine: type[RuleBasedStateMachine], examples: int, rules: int = 30) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=rules,
            deadline=None,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )


class BrokenError(Exception):
    """An operation failed."""


class Schedule(RuleBasedStateMachine):
    """What the machines share: models by direction, and the comparison after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, Model] = {}
        self.operations: dict[str, tuple[str, Callable[[], Any]]] = {}
        self.call: Any = None
        grpc_guard.clear_findings()
        ledger.add_sink(self.take)

    def take(self, finding: Finding) -> None:
        grpc_guard.clear_findings()  # of equal findings only the first would be told in full
        self.on_finding(finding)

    def on_finding(self, finding: Finding) -> None:
        raise NotImplementedError

    def teardown(self) -> None:
        ledger.remove_sink(self.take)
        grpc_guard.clear_findings()

    def set_up(self, mode: Mode) -> None:
        self.models = {"read": Model(mode), "write": Model(mode)}

    def model_of(self, name: str) -> Model:
        return next(model for model in self.models.values() if name in model.names_busy)

    @property
    def busy(self) -> list[str]:
        return [name for model in self.models.values() for name in model.names_busy]

    @property
    def idle(self) -> list[str]:
        return [name for name in NAMES if name not in self.busy]

    @property
    def inside(self) -> list[str]:
        return [name for model in self.models.values() for name in model.names_inside]

    def assert_as_modelled(self) -> None:
        status = grpc_guard.status(self.call)
        for direction, model in self.models.items():
            seen = getattr(status, direction)
            assert (seen and Party(seen.name, seen.operation)) == model.owner


def expected_finding(party: Party, owner: Party | None) -> tuple[Any, ...]:
    return ("found", party.name, party.operation, owner)


def seen_finding(finding: Finding) -> tuple[Any, ...]:
    owner = finding.owner
    return (
        "found",
        finding.caller.name,
        finding.caller.operation,
        owner and Party(owner.name, owner.operation),
    )


# Threads


class Source:
    """A sync stream: every operation says that it has begun, and ends when it is told to.

    It shows no queue of its own, as what many may use has.
    """

    def __init__(self, events: SimpleQueue[tuple[Any, ...]]) -> None:
        self._tell = events.put
        orders: dict[str, SimpleQueue[Any]] = {name: SimpleQueue() for name in NAMES}
        self._give = {name: each.put for name, each in orders.items()}
        self._order = {name: each.get for name, each in orders.items()}
        self.is_over = False

    def step(self, *message: object) -> object:
        name = threading.current_thread().name
        self._tell(("inside", name))
        order = self._order[name](timeout=SCHEDULE)
        if order == "BrokenError":
            raise BrokenError
        if order == "Interrupt":
            interrupt_thread(threading.get_ident())
        return order

    __next__ = step

    def is_active(self) -> bool:
        if self.is_over:  # asked only about an operation that met another
            self._tell(("asked", threading.current_thread().name))
        return not self.is_over

    def let_end(self, name: str, order: object) -> None:
        self._give[name](order)


class Actor:
    """A thread that does one operation after another and says how each ended."""

    def __init__(self, name: str, events: SimpleQueue[tuple[Any, ...]]) -> None:
        self._events = events
        self._work: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (operation := self._work.get()) is not None:
            self._events.put(("ended", self._thread.name, self._outcome_of(operation)))

    def _outcome_of(self, operation: Callable[[], Any]) -> str:
        try:
            return str(operation())
        except (ConcurrencyError, BrokenError, Interrupt) as error:
            return type(error).__name__

    def do(self, operation: Callable[[], Any]) -> None:
        self._work.put(operation)

    def stop(self) -> None:
        self._work.put(None)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class ThreadSchedule(Schedule):
    """Threads: what happens is told by events, and each step must lead to exactly its own."""

    def __init__(self) -> None:
        super().__init__()
        self.events: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self.actors = {name: Actor(name, self.events) for name in NAMES}

    def teardown(self) -> None:
        for name in NAMES:
            self.let_end(name, "done")
        for actor in self.actors.values():
            actor.stop()
        super().teardown()

    def on_finding(self, finding: Finding) -> None:
        self.events.put(seen_finding(finding))

    def let_end(self, name: str, outcome: str) -> None:
        raise NotImplementedError

    def expect(self, events: Iterable[tuple[Any, ...]]) -> None:
        """Wait until exactly `events` have happened, in any order."""
        expected = sorted(events, key=repr)
        happened = [self.events.get(timeout=PATIENCE) for _ in expected]
        assert sorted(happened, key=repr) == expected
        with pytest.raises(Empty):
            self.events.get_nowait()
        self.assert_as_modelled()

    def begin(self, name: str, operation: str) -> None:
        direction, function = self.operations[operation]
        model = self.models[direction]
        owner, party = model.owner, Party(name, operation)
        self.actors[name].do(function)
        verdict, is_finding = model.begin(party)
        events = []
        if owner is not None and model.is_over:
            events.append(("asked", name))
        if is_finding:
            events.append(expected_finding(party, owner))
        if verdict is Verdict.ENTERS:
            events.append(("inside", name))
        if verdict is Verdict.REFUSED:
            events.append(("ended", name, "ConcurrencyError"))
        self.expect(events)

    def end(self, name: str, outcome: str) -> None:
        self.let_end(name, outcome)
        successor = self.model_of(name).end(name)
        events = [("ended", name, outcome)]
        if successor is not None:
            events.append(("inside", successor.name))
        self.expect(events)


class Threads(ThreadSchedule):
    """Threads in the sync proxies, client and server."""

    @initialize(mode=st.sampled_from(MODES), side=st.sampled_from(["client", "server", "handler"]))
    def start(self, mode: Mode, side: str) -> None:
        self.set_up(mode)
        self.source = Source(self.events)
        stream = Stream("/test/Model", "client" if side == "client" else "server", "sync", mode)
        if side == "client":
            self.call = sync_calls.responses_of(self.source, stream)
            requests = sync_calls.requests_of(self.source, stream)
            self.operations = {
                "next": ("read", self.call.__next__),
                "next(request_iterator)": ("write", requests.__next__),
            }
        elif side == "server":
            stream.track_call(self.source, sync_handlers.has_ended)
            self.call = sync_handlers.requests_of(self.source, stream)
            sender = sync_handlers.guard_sender(self.source.step, stream)
            self.operations = {
                "next": ("read", self.call.__next__),
                "send_response": ("write", lambda: sender("message") or "done"),
            }
        else:
            stream.track_call(self.source, sync_handlers.has_ended)
            self.call = sync_handlers.responses_of(self.source, stream)
            self.operations = {"next(response_iterator)": ("write", self.call.__next__)}
        self.fails = side != "handler"  # that ends with its first failure

    def let_end(self, name: str, outcome: str) -> None:
        self.source.let_end(name, outcome)

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def somebody_begins(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.idle))
        self.begin(name, data.draw(st.sampled_from(sorted(self.operations))))

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def somebody_ends(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.inside)), "done")

    @precondition(lambda self: self.inside and self.fails)
    @rule(data=st.data(), outcome=st.sampled_from(["BrokenError", "Interrupt"]))
    def somebody_fails(self, data: st.DataObject, outcome: str) -> None:
        self.end(data.draw(st.sampled_from(self.inside)), outcome)

    @precondition(lambda self: self.inside)
    @rule(times=st.integers(0, 9))
    def the_rpc_ends(self, times: int) -> None:
        if times == 0:  # seldom, for little happens afterwards
            self.source.is_over = True
            for model in self.models.values():
                model.is_over = True


def test_threads() -> None:
    """Any schedule of threads gets from the guard what it gets from the model."""
    explore(Threads, examples=100)


# Tasks


# Not by its name, which would tell that an object may have many callers: gRPC's may not.
new_future = operator.methodcaller("create_future")


class AsyncSource:
    """An asyncio stream: every operation ends when it is told to."""

    def __init__(self) -> None:
        self.inside: dict[str, asyncio.Future[object]] = {}
        self.is_over = False

    async def step(self, *message: object) -> object:
        task = asyncio.current_task()
        assert task is not None
        name = task.get_name()
        self.inside[name] = new_future(asyncio.get_running_loop())
        try:
            return await self.inside[name]
        finally:
            del self.inside[name]

    read = write = done_writing = asend = __anext__ = step

    def __aiter__(self) -> Any:
        return self

    def done(self) -> bool:
        return self.is_over


class ManualClock(asyncio.SelectorEventLoop):
    """A loop whose time passes when it is told to."""

    now = 0.0

    def time(self) -> float:
        return self.now


class Tasks(Schedule):
    """Tasks in the asyncio proxies, client and server, and a handler that yields."""

    HANDLER = "handler"

    def __init__(self) -> None:
        super().__init__()
        self.loop = ManualClock()
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.timed: set[str] = set()
        self.found: list[tuple[Any, ...]] = []
        self.handler: asyncio.Task[Any] | None = None

    @initialize(mode=st.sampled_from(MODES), side=st.sampled_from(["client", "server"]))
    def start(self, mode: Mode, side: str) -> None:
        self.set_up(mode)
        self.source = AsyncSource()
        self.stream = Stream("/test/Model", side, "aio", mode, self.loop)
        if side == "client":
            self.call = aio_calls.DuplexCall(self.source, self.stream)
            messages = self.call.__aiter__()
            self.operations = {
                "read": ("read", self.call.read),
                "__anext__": ("read", messages.__anext__),
                "asend": ("read", lambda: messages.asend(None)),
                "write": ("write", lambda: self.call.write(b"message")),
                "done_writing": ("write", self.call.done_writing),
            }
        else:
            self.call = aio_given.Context(self.source, self.stream)
            requests = aio_given.RequestIterator(self.source, self.stream, self.call._self_read)
            self.operations = {
                "context.read": ("read", self.call.read),
                "__anext__": ("read", requests.__aiter__().__anext__),
                "context.write": ("write", lambda: self.call.write(b"message")),
            }
            self.commands: asyncio.Queue[bytes] = asyncio.Queue()
            self.handler = self.loop.create_task(self.serve(), name=self.HANDLER)
            self.settle()

    async def serve(self) -> None:
        """Do what gRPC does with a handler that yields: write it below the proxies."""
        async for _ in aio_handlers._generate(
            Handlers(None), self.stream, self.call, self.handle(None, self.call)
        ):
            await self.source.step()

    async def handle(self, request: Any, context: Any) -> Any:
        while True:
            message = await self.commands.get()
            try:
                yield message
            except ConcurrencyError:
                self.found.append(("refused", self.HANDLER))

    def on_finding(self, finding: Finding) -> None:
        if finding.severity == "error":  # cancelled-read is not what is modelled
            self.found.append(seen_finding(finding))

    def teardown(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.settle()
        assert all(task.done() for task in tasks)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        super().teardown()

    # Steps

    def settle(self) -> None:
        """Run the loop until no task can go on: every step takes far fewer passes than these."""

        async def passes() -> None:
            for _ in range(25):
                await asyncio.sleep(0)

        self.loop.run_until_complete(passes())

    def launch(self, name: str, operation: str, *, timed: bool = False) -> None:
        task = self.loop.create_task(self.operations[operation][1](), name=name)
        if timed:

            async def with_time_out() -> Any:
                return await asyncio.wait_for(task, HOUR)

            self.timed.add(name)
            self.tasks[name] = self.loop.create_task(with_time_out())
        else:
            self.tasks[name] = task

    def compare(self, found: list[tuple[Any, ...]], ended: dict[str, str]) -> None:
        """Let all parties go on; compare findings, outcomes, and the parties inside."""
        self.settle()
        assert self.found == found
        self.found = []
        assert sorted(self.source.inside) == sorted(self.inside)
        for name, outcome in ended.items():
            task = self.tasks.pop(name)
            self.timed.discard(name)
            assert task.done()
            if task.cancelled():
                assert outcome == "cancelled"
            else:
                assert outcome == type(task.exception()).__name__
        assert not any(task.done() for task in self.tasks.values())
        self.assert_as_modelled()

    def begin(
        self, name: str, operation: str, **circumstances: bool
    ) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
        """Begin in the model; return the finding and the end that must follow."""
        model = self.models[self.operations[operation][0]]
        party, owner = Party(name, operation), model.owner
        verdict, is_finding = model.begin(party, **circumstances)
        found = [expected_finding(party, owner)] if is_finding else []
        ended = {name: "ConcurrencyError"} if verdict is Verdict.REFUSED else {}
        return found, ended

    @precondition(lambda self: self.idle)
    @rule(data=st.data(), timed=st.booleans())
    def somebody_begins(self, data: st.DataObject, timed: bool) -> None:
        name = data.draw(st.sampled_from(self.idle))
        operation = data.draw(st.sampled_from(sorted(self.operations)))
        self.launch(name, operation, timed=timed)
        self.compare(*self.begin(name, operation))

    @precondition(lambda self: len(self.idle) >= 2)
    @rule(data=st.data())
    def two_begin_at_once(self, data: st.DataObject) -> None:
        found: list[tuple[Any, ...]] = []
        ended: dict[str, str] = {}
        for name in self.idle[:2]:
            operation = data.draw(st.sampled_from(sorted(self.operations)))
            self.launch(name, operation)
            more_found, more_ended = self.begin(name, operation)
            found += more_found
            ended |= more_ended
        self.compare(found, ended)

    @precondition(lambda self: self.handler is not None and self.HANDLER not in self.busy)
    @rule()
    def the_handler_yields(self) -> None:
        self.commands.put_nowait(b"message")
        model = self.models["write"]
        owner, party = model.owner, Party(self.HANDLER, "yield")
        verdict, is_finding = model.begin(party)
        found = [expected_finding(party, owner)] if is_finding else []
        if verdict is Verdict.REFUSED:
            found.append(("refused", self.HANDLER))
        self.compare(found, {})

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def somebody_ends(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.inside))
        self.source.inside[name].set_result(None)
        self.model_of(name).end(name)
        self.compare([], {} if name == self.HANDLER else {name: "NoneType"})

    @precondition(lambda self: set(self.inside) & set(self.tasks))
    @rule(data=st.data())
    def somebody_fails(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(set(self.inside) & set(self.tasks))))
        self.source.inside[name].set_exception(BrokenError())
        self.model_of(name).end(name)
        self.compare([], {name: "BrokenError"})

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def somebody_is_cancelled(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        self.tasks[name].cancel()
        self.model_of(name).end(name)
        self.compare([], {name: "cancelled"})

    @precondition(lambda self: self.timed)
    @rule()
    def time_passes(self) -> None:
        self.loop.now += 2 * HOUR
        for name in self.timed:
            self.model_of(name).end(name)
        self.compare([], dict.fromkeys(self.timed, "TimeoutError"))

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def somebody_begins_while_the_owner_is_cancelled(self, data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(sorted(self.operations)))
        owner = self.models[self.operations[operation][0]].owner
        if owner is None or owner.name == self.HANDLER or owner.name in self.timed:
            return
        name = self.idle[0]
        self.launch(name, operation)  # its first step comes before the end of the other
        self.tasks[owner.name].cancel()
        found, ended = self.begin(name, operation, owner_leaves=True)
        self.model_of(owner.name).end(owner.name)
        self.compare(found, {**ended, owner.name: "cancelled"})

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def somebody_begins_as_the_owner_leaves(self, data: st.DataObject) -> None:
        operation = data.draw(st.sampled_from(sorted(self.operations)))
        model = self.models[self.operations[operation][0]]
        owner = model.owner
        if owner is None or owner.name == self.HANDLER:
            return
        self.source.inside[owner.name].set_result(None)  # the owner's last step comes first
        name = self.idle[0]
        self.launch(name, operation)
        successor = model.end(owner.name)
        found, ended = self.begin(name, operation, owner_wakes=successor is not None)
        if found:
            # The owner had just left, and the next party has not begun: it is named as waiting.
            met = successor if model.mode is Mode.SERIALIZE else None
            found = [expected_finding(Party(name, operation), met)]
            if met is not None and met.operation == operation == "done_writing":
                found = []  # grpcio makes it idempotent: the second one has nothing to do
        self.compare(found, {**ended, owner.name: "NoneType"})

    @precondition(lambda self: self.inside and self.handler is None)
    @rule(times=st.integers(0, 9))
    def the_rpc_ends(self, times: int) -> None:
        if times == 0:  # seldom, for little happens afterwards
            self.source.is_over = True
            for model in self.models.values():
                model.is_over = True


def test_tasks() -> None:
    """Any schedule of tasks gets from the guard what it gets from the model."""
    explore(Tasks, examples=150)


# On real servers, whose handlers send when they are told to


class RealThreads(ThreadSchedule):
    """Threads in next() of a call to a real server."""

    channels: ClassVar[dict[Mode, Any]] = {}
    feeds: ClassVar[list[SimpleQueue[bytes | None]]] = []

    @classmethod
    def handle(cls, request: bytes, context: Any) -> Iterator[bytes]:
        while (message := cls.feeds[int(request)].get(timeout=SCHEDULE)) is not None:
            yield message

    @initialize(mode=st.sampled_from([Mode.RAISE, Mode.SERIALIZE]))
    def start(self, mode: Mode) -> None:
        self.set_up(mode)
        self.feed: SimpleQueue[bytes | None] = SimpleQueue()
        self.feeds.append(self.feed)
        request = str(len(self.feeds) - 1).encode()
        self.call = self.channels[mode].unary_stream(path("Feed"))(request)
        direction = self.call._self_read
        plain = direction.iterator.__next__

        def step() -> str:
            self.events.put(("inside", threading.current_thread().name))
            return str(plain(), "ascii")

        direction.iterator = IteratorFromFunction(step)
        self.operations = {"next": ("read", self.call.__next__)}

    def let_end(self, name: str, outcome: str) -> None:
        self.feed.put(outcome.encode())

    def teardown(self) -> None:
        super().teardown()
        self.feed.put(None)

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def somebody_begins(self, data: st.DataObject) -> None:
        self.begin(data.draw(st.sampled_from(self.idle)), "next")

    @precondition(lambda self: self.inside)
    @rule()
    def a_message_comes(self) -> None:
        self.end(self.inside[0], "message")


def test_threads_on_a_real_server() -> None:
    """Any schedule of threads that read a real call gets what it gets from the model."""
    RealThreads.feeds.clear()
    methods = {"Feed": grpc.unary_stream_rpc_method_handler(RealThreads.handle)}
    with (
        sync_server(methods) as address,
        sync_channel(address, mode="raise") as raising,
        sync_channel(address, mode="serialize") as serializing,
    ):
        RealThreads.channels.update({Mode.RAISE: raising, Mode.SERIALIZE: serializing})
        explore(RealThreads, examples=25, rules=15)


class RealTasks(Schedule):
    """Tasks that read a call to a real server, and write to it meanwhile."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    channels: ClassVar[dict[Mode, Any]] = {}
    feeds: ClassVar[list[asyncio.Queue[bytes]]] = []

    @classmethod
    async def handle(cls, requests: Any, context: Any) -> AsyncIterator[bytes]:
        feed = cls.feeds[int(await context.read())]
        while True:
            yield await feed.get()

    @initialize(mode=st.sampled_from([Mode.RAISE, Mode.SERIALIZE]))
    def start(self, mode: Mode) -> None:
        self.set_up(mode)
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.found: list[tuple[Any, ...]] = []
        self.feeds.append(asyncio.Queue())
        self.run(self.open(mode))

    async def open(self, mode: Mode) -> None:
        self.call = self.channels[mode].stream_stream(path("Feed"))()
        await self.call.write(str(len(self.feeds) - 1).encode())
        self.feeds[-1].put_nowait(b"the first message")
        assert await self.call.read() == b"the first message"  # it is connected now

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(coroutine, PATIENCE))

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def on_finding(self, finding: Finding) -> None:
        if finding.severity == "error":  # cancelled-read is not what is modelled
            self.found.append(seen_finding(finding))

    def teardown(self) -> None:
        self.call.cancel()
        for task in self.tasks.values():
            task.cancel()
        if self.tasks:
            self.run(asyncio.wait(self.tasks.values()))
        super().teardown()

    @precondition(lambda self: self.idle)
    @rule(data=st.data())
    def somebody_begins(self, data: st.DataObject) -> None:
        party = Party(data.draw(st.sampled_from(self.idle)), "read")
        model = self.models["read"]
        owner = model.owner
        task = self.loop.create_task(self.call.read(), name=party.name)
        self.run(self.settle())
        verdict, is_finding = model.begin(party)
        assert self.found == ([expected_finding(party, owner)] if is_finding else [])
        self.found = []
        assert task.done() == (verdict is Verdict.REFUSED)
        if task.done():
            assert type(task.exception()) is ConcurrencyError
        else:
            self.tasks[party.name] = task
        self.assert_as_modelled()

    @precondition(lambda self: self.inside)
    @rule()
    def a_message_comes(self) -> None:
        model = self.models["read"]
        assert model.owner is not None
        owner = model.owner.name
        self.feeds[-1].put_nowait(owner.encode())
        task = self.tasks.pop(owner)
        self.run(asyncio.wait([task]))
        assert task.result() == owner.encode()
        model.end(owner)
        self.run(self.settle())
        self.assert_as_modelled()

    @precondition(lambda self: self.models["read"].line)
    @rule(data=st.data())
    def somebody_in_line_gives_up(self, data: st.DataObject) -> None:
        model = self.models["read"]
        name = data.draw(st.sampled_from([party.name for party in model.line]))
        task = self.tasks.pop(name)
        task.cancel()
        self.run(asyncio.wait([task]))
        assert task.cancelled()
        model.end(name)
        self.assert_as_modelled()

    @rule()
    def a_message_goes(self) -> None:
        self.run(self.call.write(b"message"))
        self.assert_as_modelled()


def test_tasks_on_a_real_server() -> None:
    """Any schedule of tasks that read a real call gets what it gets from the model."""

    async def start() -> Any:
        stack = AsyncExitStack()
        methods = {"Feed": grpc.stream_stream_rpc_method_handler(RealTasks.handle)}
        address = await stack.enter_async_context(aio_server(methods))
        for mode in (Mode.RAISE, Mode.SERIALIZE):
            channel = aio_channel(address, mode=mode)
            RealTasks.channels[mode] = await stack.enter_async_context(channel)
        return stack

    loop = asyncio.new_event_loop()
    RealTasks.loop = loop
    RealTasks.feeds.clear()
    stack = loop.run_until_complete(start())
    try:
        explore(RealTasks, examples=25, rules=15)
    finally:
        loop.run_until_complete(stack.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
