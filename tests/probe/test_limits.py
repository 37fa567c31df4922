"""How long an operation may be held back."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from inside import limits


class Call:
    def __init__(self, remaining: float | None) -> None:
        self._remaining = remaining

    def time_remaining(self) -> float | None:
        return self._remaining


class Silent:
    def time_remaining(self) -> float:
        raise NotImplementedError


class SyncCall(Call):
    def __init__(self, deadline: float | None) -> None:
        super().__init__(0)
        self._deadline = deadline


@pytest.mark.parametrize(
    ("timed", "left"),
    [
        ([], math.inf),
        ([None, object()], math.inf),
        ([Call(None)], math.inf),
        ([Call(3), Call(2)], 2),
        ([Silent()], 0),
        ([SyncCall(None)], math.inf),
    ],
)
def test_deadlines(timed: list[Any], left: float) -> None:
    """The first deadline counts; one that cannot be told allows nothing."""
    assert limits.time_left(timed) == left


def test_deadline_of_a_sync_call() -> None:
    """A sync call is not asked, which could wait for a lock: its record is looked at."""
    assert 9 < limits.time_left([SyncCall(time.time() + 10)]) <= 10


async def test_a_scope_of_anyio() -> None:
    """A scope of anyio that has a deadline is a time-out of its task."""
    task = asyncio.current_task()
    assert task is not None
    before = limits.until_timeout(task)
    with anyio.move_on_after(5):
        await anyio.lowlevel.checkpoint()
        assert 4 < limits.until_timeout(task) <= 5
    assert limits.until_timeout(task) == pytest.approx(before, abs=1) or before == math.inf


async def test_a_timer_that_was_cancelled() -> None:
    """A time-out that is over does not count, and neither does another party's timer."""
    task = asyncio.current_task()
    assert task is not None
    with anyio.move_on_after(5):
        await anyio.lowlevel.checkpoint()
    handle = asyncio.get_running_loop().call_later(5, print)
    assert limits.until_timeout(task) > 6
    handle.cancel()


def test_finalising() -> None:
    """A finaliser is known by its frames: __del__, and callbacks of weakref."""
    seen = []

    class Last:
        def __del__(self) -> None:
            look()

    def look() -> None:
        import sys

        seen.append(limits.is_finalising(sys._getframe()))

    look()
    last = Last()
    weakref.finalize(last, look)
    del last
    assert seen == [False, True, True]
