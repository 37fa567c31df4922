"""The frames of threads, and which threads are met: the same with both cores."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from inside import core_which, frames_of_threads, guard_noted, inspect_threads, key_of, sight, waits
from support.staging import PATIENCE, Gate, in_thread

compiled: Any = core_which.compiled()


@pytest.fixture
def parked() -> Iterator[FrameType]:
    """The frame of a thread that waits at a gate, in a function that somebody has called."""
    gate, found = Gate(), []

    def called() -> None:
        found.append(sys._getframe())
        gate.park()

    def calling() -> None:
        called()

    party = in_thread(calling)
    with gate.held():
        yield found.pop()
    party.result()


def seen(frames: dict[int, FrameType], noted: Any, marked: set[int]) -> Any:
    """Return what is met, which both cores agree upon."""
    known = frames, noted, marked
    chains, met = inspect_threads.look_at_threads_in_python(*known)
    if compiled is not None:
        assert compiled.look_at_threads(*known) == (chains, met)
    assert inspect_threads.look_at_threads(*known) == (chains, met)
    assert all(chain is chains[ident] for ident, chain, _, _ in met)
    return met


def test_which_threads_are_met(parked: FrameType) -> None:
    """Those with a caller of what is noted, and those in marked code."""
    here = sys._getframe()
    frames, outer = {1: here, 2: parked}, parked.f_back
    assert outer is not None
    assert seen(frames, {}, set()) == []
    noted = {key_of(outer): ["a"], key_of(parked): ["b"], 7: ["c"]}
    ((ident, chain, callers, is_marked),) = seen(frames, noted, set())
    assert (ident, callers, is_marked) == (2, [0, 1], False)
    assert chain[:2] == [parked, outer]
    (first, second) = seen(frames, noted, {id(here.f_code), id(outer.f_code)})
    assert (first[0], first[2:]) == (1, ([], True))
    assert (second[0], second[2:]) == (2, ([0, 1], True))


def test_what_nothing_in_python_called(parked: FrameType) -> None:
    """Any thread may be in that."""
    frames = {1: sys._getframe(), 2: parked}
    assert [one[0] for one in seen(frames, {None: ["a"]}, set())] == [1, 2]


def test_a_frame_that_has_ended_meanwhile(parked: FrameType) -> None:
    """It is no caller any more: its key is another one."""
    assert guard_noted.standing_at([0], [parked], {key_of(parked) + 1: []}, 1) == []


def test_all_threads(parked: FrameType) -> None:
    """The parked one is met among those of the process."""
    found = seen(frames_of_threads(), {key_of(parked): ["a"]}, set())
    assert [chain[callers[0]] for _, chain, callers, _ in found] == [parked]


def test_places(parked: FrameType) -> None:
    """The identity of each one's code, and the instruction at which it is."""
    frames = [parked, parked.f_back]
    found = inspect_threads.places_of(frames)
    assert found == inspect_threads.places_in_python(frames)
    assert found[:2] == (id(parked.f_code), parked.f_lasti)
    assert len(found) == 4
    assert inspect_threads.places_of([]) == ()


class Local:
    """What a thread has in hand."""


def test_a_look_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps no frame of any thread, though its own is among them."""
    gate, held = Gate(), []

    def hold() -> None:
        local = Local()
        held.append(weakref.ref(local))
        gate.park()

    def fail() -> None:
        raise ArithmeticError

    monkeypatch.setattr(sight, "suspended_greenlets", fail)
    party = in_thread(hold)
    gc.disable()
    try:
        with gate.held(), pytest.raises(ArithmeticError):
            sight.Sight([])
        party.result()
        assert held[0]() is None
    finally:
        gc.enable()


def test_a_thread_that_has_ended_is_not_waited_for() -> None:
    """Another thread may have its ident."""
    gate = Gate()
    ended = threading.Thread(target=int)
    ended.start()
    ended.join(PATIENCE)
    frame: Any = SimpleNamespace(f_code=waits.JOIN, f_locals={"self": ended})
    waiter = waits.Party("thread", "a", ("thread", 1))
    party = in_thread(gate.park)
    with gate.held():
        ended._ident = party._thread.ident  # type: ignore[attr-defined]
        assert list(waits.joins(waiter, [frame])) == []
        frame.f_locals["self"] = party._thread
        assert [wait.awaited.name for wait in waits.joins(waiter, [frame])] == ["party"]
    party.result()


@pytest.mark.skipif(compiled is None, reason="needs the compiled core")
@pytest.mark.parametrize(
    "wrong",
    [
        ({1: 2}, {}, set()),
        ([], {}, set()),
        ({}, [], set()),
        ({}, {}, {}),
        ({},),
    ],
)
def test_what_is_no_frame(wrong: Any) -> None:
    with pytest.raises(TypeError):
        compiled.look_at_threads(*wrong)
    with pytest.raises(TypeError):
        compiled.places_of([None])
    with pytest.raises(TypeError):
        compiled.places_of(None)


@pytest.mark.skipif(compiled is None, reason="needs the compiled core")
def test_nothing_is_kept(parked: FrameType) -> None:
    """Frames that a look has made are let go with what it returned."""
    noted, marked = {key_of(parked): ["a"]}, {id(parked.f_code)}
    before = list(map(sys.getrefcount, (parked, parked.f_code)))
    for _ in range(100):
        compiled.look_at_threads({1: parked}, noted, marked)
        compiled.places_of([parked])
    after = map(sys.getrefcount, (parked, parked.f_code))
    assert max(now - then for now, then in zip(after, before, strict=True)) < 50
