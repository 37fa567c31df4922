"""Alarms: something done once, in a while, from a thread that the program does not see."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from _thread import get_ident
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from inside import alarm, collector, inspect_switch, native
from support.staging import wait


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> inspect_switch.Switch:
    made = inspect_switch.Switch()
    monkeypatch.setattr(alarm, "switch", made)
    return made


def test_an_alarm(switch: inspect_switch.Switch) -> None:
    """It goes off when its time has come, if there is a channel or a server by then."""
    rung = threading.Event()
    seen: list[bool] = []

    def ring() -> None:
        seen.append(get_ident() in {thread.ident for thread in threading.enumerate()})
        rung.set()

    switch.use()
    alarm.Alarm(0.0, ring)
    wait(rung)
    assert seen == [False]  # the program does not see the thread among its own


def test_an_alarm_before_the_first_channel(switch: inspect_switch.Switch) -> None:
    """Its thread starts no sooner; one that was called off by then never does."""
    rung, off = threading.Event(), threading.Event()
    alarm.Alarm(0.0, rung.set)
    called_off = alarm.Alarm(0.0, off.set)
    called_off.cancel()
    called_off.cancel()
    assert not rung.is_set()
    switch.use()
    wait(rung)
    assert not off.is_set()


def test_one_that_goes_off_or_not(switch: inspect_switch.Switch) -> None:
    """What its thread does, done here: it rings, swallows a failure, or was called off."""
    rung: list[str] = []

    def fail() -> None:
        rung.append("failed")
        raise ValueError

    alarm.Alarm(0.0, lambda: rung.append("rung")).run()
    alarm.Alarm(0.0, fail).run()
    called_off = alarm.Alarm(60.0, lambda: rung.append("never"))
    called_off.cancel()
    called_off.run()
    assert rung == ["rung", "failed"]


def test_what_gevent_has_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original is taken, which gevent keeps."""
    monkey = SimpleNamespace(get_original=lambda module, name: (module, name))
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    assert native.native("time", "sleep") == ("time", "sleep")


def test_others_run_between_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """All items come in their order, and between two slices of them the thread sleeps."""
    happened: list[object] = []
    monkeypatch.setattr(native, "native", lambda module, name: happened.append)
    monkeypatch.setattr(native, "_SLICE", 2)
    happened += native.slices_of("abcde")
    assert happened == ["ab", native._NAP, "cd", native._NAP, "e"]


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What settle() sleeps; the objects that are new there go in the third sleep."""
    slept: list[float] = []
    kept: list[list[object]] = []

    def nap(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            kept.clear()

    monkeypatch.setattr(native, "native", lambda module, name: nap)
    with collector.collector_at_rest():
        kept += [[] for _ in range(10_000)]
        yield slept


def test_what_a_look_has_left_goes_before_the_collector_runs(naps: list[float]) -> None:
    """The frames that it has found go as their functions return."""
    native.settle(0, 6_000)
    assert naps == [native._SETTLING] * 3


def test_it_does_not_wait_for_ever(naps: list[float]) -> None:
    """What is new may be the program's, and stay."""
    stay = [[] for _ in range(10_000)]  # type: ignore[var-annotated]
    native.settle(0, 6_000)
    assert naps == [native._SETTLING] * native._PATIENCE
    assert len(stay) == 10_000


def test_it_does_not_wait_where_nothing_is_due(naps: list[float]) -> None:
    """The collector rests, whoever has stopped it; or much more has to be new; or it was before."""
    native.settle(0, 0)
    native.settle(0, 1_000_000)
    native.settle(native.new_objects() + 1_000, 6_000)
    gc.disable()
    try:
        native.settle(0, 6_000)
    finally:
        gc.enable()
    assert naps == []


def test_a_thread_has_begun_when_its_start_returns() -> None:
    """What is thrown at its starter then reaches that one, see native.start()."""
    go, gone = threading.Event(), threading.Event()

    def work() -> None:
        wait(go)
        gone.set()

    native.start(work)
    begun = [
        frame.f_locals["function"]
        for top in sys._current_frames().values()
        for frame, _ in traceback.walk_stack(top)
        if frame.f_code is native._run.__code__
    ]
    assert work in begun
    go.set()
    wait(gone)


def test_what_a_thread_does() -> None:
    """What its thread does, done here: it says that it has begun, and then does its work."""
    begun = threading.Lock()
    begun.acquire()
    done: list[object] = []
    native._run(begun, lambda *args: done.extend((begun.locked(), *args)), ("work",))
    assert done == [False, "work"]
