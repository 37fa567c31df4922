"""Mode serialize: an operation that has waited long for its turn is logged, once."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import grpc
import pytest
from inside import Api, Mode, Side, Stream, Way, guard_violations, long_waits, steps
from support.sharing import until
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    logged_by_us,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
    within,
)

from grpc_guard import guarded

US = grpc.unary_stream_rpc_method_handler
LONG = 30.0  # seconds


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[long_waits.LongWaits]:
    """The long waits of this test alone; the thread that looks at them starts where it is wanted."""
    own = long_waits.LongWaits()
    monkeypatch.setattr(guard_violations, "long_waits", own)
    with guarded("off", thresholds={"long_wait_seconds": LONG}):
        yield own
        if own.timer is not None:
            own.timer.cancel()


def numbers(request: Any, context: Any) -> Iterator[bytes]:
    yield from (b"0", b"1", b"2")


def long_ones(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for text in logged_by_us(caplog) if "for its turn" in text]


def test_a_thread_that_waits_long(
    waits: Any, found: Any, reported: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged when it has waited so long, once; and not when it has its turn."""
    first, second = Gate(), Gate()

    def receive(message: bytes) -> bytes:
        return {b"0": first, b"1": second}.get(message, opened).park(message)

    opened = Gate()
    opened.open()
    with sync_server({"Long": US(numbers)}) as address:
        with sync_channel(address, mode="serialize") as channel:
            call = channel.unary_stream(path("Long"), response_deserializer=receive)(b"")
            parties = [in_thread(next, call, name="first")]
            first.wait()
            parties.append(in_thread(next, call, name="second"))
            reported.get(timeout=PATIENCE)
            (came,) = (ticket.since for ticket in call._self_read.turns.queue)
            again = waits.look(came + LONG / 2)
            assert again == pytest.approx(LONG / 2)
            assert long_ones(caplog) == []
            assert waits.look(came + LONG) == LONG  # no other party waits
            (text,) = long_ones(caplog)
            for later in (2, 3):  # nothing is logged again
                assert waits.look(came + later * LONG) == LONG
            first.open()
            second.wait()
            assert waits.look(came + 4 * LONG) is None  # it is inside, and no party waits
            second.open()
            assert [party.result() for party in parties] == [b"0", b"1"]
            call.cancel()
    assert long_ones(caplog) == [text]
    assert text.startswith("thread 'second' has waited 30.")
    assert f" for its turn to next on {path('Long')} (client, sync) (" in text
    assert "): thread 'first' has been in next for " in text
    found()


async def test_a_task_that_waits_long(
    waits: Any, found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """So is a task; one that came later is logged when its own time has come."""
    gate = asyncio.Event()

    async def silent(request: Any, context: Any) -> None:
        await gate.wait()
        for number in range(3):
            await context.write(b"%d" % number)

    async with aio_server({"Long": US(silent)}) as address:
        async with aio_channel(address, mode="serialize") as channel:
            call = channel.unary_stream(path("Long"))(b"")
            readers = []
            for name in ("first", "second", "third"):
                readers.append(asyncio.create_task(call.read(), name=name))
                await settle()
            second, third = (ticket.since for ticket in call._self_read.turns.queue)
            again = waits.look(second + LONG)
            assert again == pytest.approx(max(0.0, third - second))
            assert [text.partition(" has waited")[0] for text in long_ones(caplog)] == [
                "task 'second'"
            ]
            waits.look(third + LONG + 1)
            gate.set()
            assert await within(asyncio.gather(*readers)) == [b"0", b"1", b"2"]
    assert [text.partition(" has waited")[0] for text in long_ones(caplog)] == [
        "task 'second'",
        "task 'third'",
    ]
    assert "task 'first' has been in read for " in long_ones(caplog)[0]
    found()


def test_the_thread_that_looks(waits: Any, found: Any) -> None:
    """It starts with the first waiting caller, and ends when no caller waits."""
    logged = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: logged.set() if "for its turn" in record.getMessage() else None  # type: ignore[method-assign, func-returns-value]
    logging.getLogger("grpc_guard").addHandler(handler)
    gate = Gate()
    try:
        with guarded("off", thresholds={"long_wait_seconds": 0}):
            with sync_server({"Long": US(numbers)}) as address:
                with sync_channel(address, mode="serialize") as channel:
                    call = channel.unary_stream(
                        path("Long"), response_deserializer=gate.park_at(b"0")
                    )(b"")
                    assert waits.timer is None
                    parties = [in_thread(next, call, name="first")]
                    gate.wait()
                    parties.append(in_thread(next, call, name="second"))
                    wait(logged)
                    gate.open()
                    assert {party.result() for party in parties} == {b"0", b"1"}
                    call.cancel()
    finally:
        logging.getLogger("grpc_guard").removeHandler(handler)
    until(lambda: waits.timer is None)
    found()


def test_the_thread_ends_with_the_last_wait(waits: Any) -> None:
    """It does not stay for half a minute: a program may compare its lists of threads."""
    waits.note(steps.Responses(Stream("/x", Side.CLIENT, Api.SYNC, Mode.SERIALIZE), iter(())))
    timer = waits.timer
    timer.join(PATIENCE)
    assert not timer.is_alive()
    assert (waits.timer, waits._directions) == (None, {})


@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_that_rings_before_its_start_returns(
    fails: bool, waits: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not taken for one that is to ring; nor is one that could not be started."""

    def start(timer: threading.Timer) -> None:
        if fails:
            raise RuntimeError("can't start new thread")
        timer.function()

    monkeypatch.setattr(threading.Timer, "start", start)
    direction = steps.Responses(Stream("/x", Side.CLIENT, Api.SYNC, Mode.SERIALIZE), iter(()))
    waits.note(direction)
    assert waits.timer is None
    assert logged_by_us(caplog) == ["a long wait goes unnoticed"] * fails


def test_looks_that_would_follow_at_once(waits: Any) -> None:
    """There is some time between two, and not much."""
    waits._arm(0.0)
    assert 0 < waits.timer.interval < 0.1


def test_directions_that_are_gone(waits: Any) -> None:
    """Nothing is kept of them; another that has got its identity is another."""
    direction = steps.Responses(Stream("/x", Side.CLIENT, Api.SYNC, Mode.SERIALIZE), iter(()))
    waits.timer = threading.Timer(PATIENCE, print)  # never started
    waits.note(direction)
    waits.note(direction)
    assert len(waits._directions) == 1
    (key,) = waits._directions
    waits._directions[key] = lambda: None
    waits.note(direction)
    assert waits._directions[key]() is direction
    assert direction.way is Way.READ
    del direction
    gc.collect()
    assert waits.look(monotonic()) is None
    assert waits._directions == {}
    waits.forget()
    assert waits.timer is None


def test_nobody_inside_at_this_moment(
    waits: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two turns no party is inside: the report says so. An idle direction ends no look."""
    idle = steps.Responses(Stream("/y", Side.CLIENT, Api.SYNC, Mode.SERIALIZE), iter(()))
    direction = steps.Responses(Stream("/x", Side.CLIENT, Api.SYNC, Mode.SERIALIZE), iter(()))
    assert direction.turns is not None
    ticket = long_waits.Ticket("next", None)
    direction.turns.queue.append(ticket)
    waits.timer = threading.Timer(PATIENCE, print)  # never started
    waits.note(idle)
    waits.note(direction)
    waits.look(ticket.since + LONG)
    (text,) = long_ones(caplog)
    assert text.endswith("(no line of the program)): nobody is inside at this moment")
