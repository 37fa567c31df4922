"""Mode serialize: first come, first served, and no wake-up is ever lost."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from inside import Stream, aio_calls, core_turns, ledger, sync_calls
from support.staging import PATIENCE, AsyncGate, Gate, in_thread, settle

from grpc_guard import ConcurrencyError, Finding, Mode

HOUR = 3600.0


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a lost wake-up a hang."""
    monkeypatch.setattr(core_turns, "_RECHECK", HOUR)


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

    def done(self) -> bool:
        return False


def sync_call(park: Any) -> Any:
    return sync_calls.StreamCall(Plain(park), Stream("/x", "client", "sync", Mode.SERIALIZE))


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


def test_threads_in_line(no_second_look: None, found: Any) -> None:
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


async def test_tasks_in_line(no_second_look: None, found: Any) -> None:
    """Tasks that wait get their turns in the order in which they came, each told once."""
    gate = AsyncGate()
    call = aio_call(gate.park)
    tasks = [asyncio.create_task(call.read()) for _ in range(5)]
    await settle()
    gate.open()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4, 5]
    assert sum(finding.count for finding in found()) == 4


async def test_newcomer_while_the_next_wakes_up(no_second_look: None, found: Any) -> None:
    """Who comes when the direction is free but promised waits too; nobody is blamed by name."""
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
    assert found()[-1].message == (
        "concurrent-read: read by task 'newcomer' on /x (client, aio) made to wait: "
        "another operation had the direction and has just left it"
    )


def test_failure_of_the_owner(no_second_look: None, found: Any) -> None:
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


def test_wake_up_that_was_swallowed(found: Any) -> None:
    """A thread whose wake-up is lost looks again by itself."""
    gate = Gate()
    call = sync_call(gate.park)
    owner = in_thread(next, call)
    gate.wait()

    def swallow(finding: Finding) -> None:
        turns = call._self_read.turns
        turns.token += (0,)  # free, and nobody is rung
        gate.open()

    with told_to(swallow):
        assert next(call) in (1, 2)
    assert owner.result() in (1, 2)
    found()


async def test_wake_up_of_a_task_that_was_swallowed() -> None:
    """A task whose wake-up is lost looks again by itself."""
    ticket = asyncio.Event()
    await asyncio.wait_for(core_turns._rung(ticket), PATIENCE)
    assert not ticket.is_set()


async def test_wake_up_of_a_task() -> None:
    """A task that is rung goes on at once, and its ticket can be rung again."""
    ticket = asyncio.Event()
    waiting = asyncio.create_task(core_turns._rung(ticket))
    await settle()
    ticket.set()
    await asyncio.wait_for(waiting, PATIENCE)
    assert not ticket.is_set()


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


def test_leaving_while_nobody_waits(no_second_look: None) -> None:
    """An operation that met nobody leaves no trace."""
    call = sync_call(lambda: None)
    assert [next(call), next(call)] == [1, 2]
    assert not call._self_read.turns.queue
