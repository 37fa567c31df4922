"""Owners whose operations show no frame: found by what their directions note, on either core."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import Iterator
from types import FrameType, SimpleNamespace
from typing import Any

import pytest
from inside import (
    AioDirection,
    Mode,
    Stream,
    Way,
    core_conflicts,
    core_turns,
    findings_stacks,
    guard_noted,
    guard_roles,
    inspect_lines,
    key_of,
    owner_of,
    steps,
)
from inside import parked as parked_rule
from support.staging import Gate, in_thread


def noting(kind: Any = steps.Responses, frame: FrameType | None = None, **noted: Any) -> Any:
    """Return a direction that notes an operation in progress, as those of the compiled core do."""
    noted["caller"] = None if frame is None else key_of(frame)
    unseen = type(kind.__name__, (kind,), {"__slots__": (), "shows_frames": False, **noted})
    return unseen(Stream("/a/b", "client", "sync", Mode.RAISE), iter(()))


@pytest.fixture
def parked() -> Iterator[tuple[int, FrameType]]:
    """Yield the ident of a thread, and its frame that has a line of the program."""
    frames: list[Any] = []

    def work() -> None:
        frames.append((threading.get_ident(), sys._getframe()))
        gate.park(None)

    gate = Gate()
    party = in_thread(work, name="worker")
    with gate.held():
        yield frames.pop()
    party.result()


def test_a_thread(parked: tuple[int, FrameType], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with the line that called, whichever ident it has noted; or as another's."""
    monkeypatch.delitem(sys.modules, "gevent", raising=False)
    ident, frame = parked
    for owner in (ident, 7):  # as gevent's are
        direction = noting(operation="next", frame=frame)
        del direction.free
        direction.owner = owner
        direction.since = math.inf  # as of an operation that began during the search
        found = owner_of(direction)
        assert found is not None
        assert (found.kind, found.name, found.operation) == ("thread", "worker", "next")
        assert found.held_seconds == 0.0
        assert found.stack[-1].function == "work"


def test_a_thread_that_nothing_in_python_has_called(parked: tuple[int, FrameType]) -> None:
    """Its ident is all that is known of it; all its frames are inside of the operation."""
    direction = noting(steps.ClientRequests, operation="next(request_iterator)", frame=None)
    direction.owner = parked[0]
    found = guard_noted.owner_noted(direction)
    assert found is not None
    assert found.name == "worker"
    assert "work" in [frame.function for frame in found.stack]
    direction = noting(operation="next", frame=None)
    direction.owner = parked[0]
    assert guard_noted.owner_noted(direction).name == "worker"  # type: ignore[union-attr]


def test_a_thread_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for some times, for it may be another one by now."""
    monkeypatch.delitem(sys.modules, "gevent", raising=False)
    gone = in_thread(sys._getframe).result()
    assert guard_noted.owner_noted(noting(operation="next", frame=gone)) is None
    assert guard_noted.owner_noted(noting(operation=None, frame=gone)) is None
    left = noting(operation=None, frame=gone)
    other = noting(operation="next", frame=sys._getframe())
    noted = {None: [noting(operation=None, frame=None)], key_of(gone): [left, other]}
    assert guard_noted.standing_among([gone], noted, 0) == []


@pytest.mark.parametrize("other", [-1, 1])
def test_a_thread_that_another_one_is_taken_for(other: int, parked: tuple[int, FrameType]) -> None:
    """Only the thread whose ident is noted is inside, where nothing in Python has called."""
    ident, frame = parked
    direction = noting(operation="next", frame=None)
    direction.owner = ident + other
    assert guard_noted.standing_among([frame], {None: [direction]}, ident) == []


def test_the_role_of_what_stands_among_frames(parked: tuple[int, FrameType]) -> None:
    """It owns its direction, and its time is known."""
    _, frame = parked
    direction = noting(operation="next", frame=frame)
    standing = guard_noted.standing_among([frame], {key_of(frame): [direction]})
    (role,) = guard_roles.roles([frame], standing)
    assert (role.direction, role.operation, list(role.frames)) == (direction, "next", [frame])
    assert (role.is_owner, role.is_timed) == (True, True)


def test_what_is_noted_at_one_moment(
    parked: tuple[int, FrameType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directions are told by what called their operations."""
    frame = parked[1]
    one, other = noting(operation="next", frame=frame), noting(operation="next", frame=None)
    monkeypatch.setattr(guard_noted, "operations_in_progress", lambda: [one, other])
    assert guard_noted.noted_directions() == {key_of(frame): [one], None: [other]}


def test_a_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suspended one is known by the frame that called, though its thread does something else."""
    frame = in_thread(sys._getframe).result()
    greenlets = [("another", sys._getframe()), ("green", frame)]
    monkeypatch.setattr(guard_noted, "suspended_greenlets", lambda: greenlets)
    direction = noting(operation="next", frame=frame)
    direction.owner = threading.get_ident()
    found = guard_noted.owner_noted(direction)
    assert found is not None
    assert (found.kind, found.name, found.operation) == ("greenlet", "green", "next")


def test_where_gRPC_is_in_a_request_iterator(parked: tuple[int, FrameType]) -> None:  # noqa: N802
    """What it has called, and only that, is looked at."""
    ident, frame = parked
    requests = noting(steps.ClientRequests, operation="next(request_iterator)", frame=frame)
    noted = {key_of(frame): [noting(operation="next", frame=frame), requests]}
    chain = list(findings_stacks.outward(sys._current_frames()[ident]))
    found = list(parked_rule._request_iterators(ident, chain, noted))
    assert found == [(requests, chain.index(frame))]
    chain.clear()


@pytest.mark.parametrize("shows_frames", [False, True])
def test_the_owner_that_a_signal_handler_meets(shows_frames: bool) -> None:
    """Further out on the stack, it is not taken for the method of the one that waits."""
    direction: Any = noting() if not shows_frames else noting(shows_frames=True)
    names = {"direction": direction, "owns": True}
    frames: Any = [
        SimpleNamespace(f_code=function.__code__, f_lasti=1 << 20, f_locals=names)
        for function in (core_conflicts.contended, core_turns.take_turn)
    ]
    owners = [role for role in guard_roles.roles(frames) if role.is_owner]
    assert bool(owners) is not shows_frames
    is_inside = guard_roles.inside([*frames, sys._getframe()], direction) is not None
    assert is_inside is not shows_frames


def test_the_owner_further_out_than_one_that_is_let_through() -> None:
    """It is found behind the method of the one that interrupts it."""
    direction: Any = noting(shows_frames=True)
    names = {"direction": direction, "owns": True}
    frames: Any = [
        SimpleNamespace(f_code=function.__code__, f_lasti=1 << 20, f_locals=names)
        for function in (core_conflicts.contended, core_turns.take_turn, core_turns.take_turn)
    ]
    (role,) = guard_roles.roles(frames)
    assert role.is_owner
    assert guard_roles.inside([*frames, sys._getframe()], direction) is not None


# Tasks


class Operation:
    """An aio operation as one of a compiled core: a link in a chain of awaits, without a frame."""

    cr_frame = None

    def __init__(self, direction: Any, *, owns: bool) -> None:
        self.direction = direction
        self.operation = "read"
        self.owns = owns
        self.cr_await: Any = None

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> None:
        return None


class Unseen(AioDirection):
    """A direction of such operations."""

    __slots__ = ()
    inside = "an operation"


async def reads(operation: Operation) -> None:
    await operation


def test_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with the line that awaits, from the claim until the direction is given back."""
    monkeypatch.setattr(guard_noted, "AioOperation", Operation)
    monkeypatch.setattr(inspect_lines, "AioOperation", Operation)
    stream = Stream("/a/b", "client", "aio", Mode.RAISE, asyncio.new_event_loop())
    direction = Unseen(stream, Way.READ)
    operation = Operation(direction, owns=True)
    coroutine = reads(operation)
    coroutine.send(None)
    found = guard_roles.inside_task(coroutine, direction)
    assert found is not None
    assert (found[0], found[2][-1].code) == ("read", "await operation")
    assert guard_roles.inside_task(coroutine, Unseen(stream, Way.READ)) is None

    kinds, links = inspect_lines.Lines().shown(coroutine, set())
    assert kinds & inspect_lines.OPERATION
    (role,) = guard_roles.roles(*guard_noted.frames_of_task([*links, object()]))
    assert (role.direction, role.operation, role.is_owner) == (direction, "read", True)

    operation.owns = False
    assert guard_roles.inside_task(coroutine, direction) is None
    coroutine.close()
    assert stream.loop is not None
    stream.loop.close()


@pytest.mark.parametrize("runs", [False, True])
async def test_a_task_that_no_chain_shows(runs: bool) -> None:
    """The operation tells the line that asked for it; and the task that runs now, if it runs."""

    class Driven(AioDirection):
        __slots__ = ()
        inside = Operation(None, owns=True)

    Driven.inside.cr_running = runs  # type: ignore[attr-defined]
    Driven.inside._grpc_guard_asked_at = ((__file__, 7, "asks"),)  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    direction = Driven(Stream("/a/b", "client", "aio", Mode.RAISE, loop), Way.READ)
    direction.taken = True
    owner = owner_of(direction)
    task = asyncio.current_task()
    assert owner is not None
    assert task is not None
    assert owner.name == (task.get_name() if runs else "(not found)")
    assert [(frame.line, frame.function) for frame in owner.stack] == [(7, "asks")]
