"""Mode ``serialize``: callers of one direction wait for their turn, first come first served.

The queue holds one ticket per caller that has to wait. A ticket carries no right of its own, it only wakes
its holder: the right is the same token as in the other modes, claimed in the same way by
whoever stands first. A wake-up that an injected exception swallows therefore costs one
_RECHECK, never a hang.
"""

from __future__ import annotations

import asyncio
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

from . import operations
from .extras import GIVE_BACK, Turns
from .stream import Direction

T = TypeVar("T")
Report = Callable[[Direction, str], None]

_RECHECK = 0.05  # seconds


@operations.operation("turn")
def take_turn(
    direction: Direction, operation: str, report: Report, function: Callable[..., T], *args: Any
) -> T:
    """Do `function` when all who came earlier are out; `report` if that means waiting."""
    turns = _turns_of(direction)
    queue, token = turns.queue, turns.token
    owns = False
    ticket: Any = None
    try:
        # CPython 3.12 takes what interrupts a jump backward to have happened before its target:
        # no jump may go back to just behind the `return`, as one from an `except` would.
        attempt = 0
        while True:
            if attempt == 1:
                ticket = allocate_lock()
                ticket.acquire()
                queue.append(ticket)
                report(direction, operation)
            elif attempt > 1:
                ticket.acquire(True, _RECHECK)
            attempt += 1
            if _is_first(queue, ticket):
                try:
                    del token[1]
                except IndexError:
                    continue
                try:
                    owns = True  # noqa: F841  # read off the frame by _owners
                    direction.owner = get_ident()
                    direction.since = monotonic()
                    return function(*args)
                finally:
                    token += GIVE_BACK
    finally:
        if ticket in queue:
            queue.remove(ticket)
        _ring(queue)


def _is_first(queue: deque[Any], ticket: Any) -> bool:
    """Tell whether the holder of `ticket`, or of none yet, comes next."""
    try:
        return queue[0] is ticket
    except IndexError:
        return True


def _ring(queue: deque[Any]) -> None:
    """Wake whoever comes next."""
    try:
        queue[0].release()
    except (IndexError, RuntimeError):
        pass  # nobody waits, or it has been rung already


@operations.operation("turn")
async def take_turn_async(
    direction: Direction,
    operation: str,
    report: Report,
    function: Callable[..., Awaitable[T]],
    *args: Any,
) -> T:
    """Do `function` when all who came earlier are out; `report` if that means waiting."""
    turns = _turns_of(direction)
    owns = False
    if turns.queue or turns.taken:
        await wait_for_turn(direction, operation, report)
    turns.taken = True  # between the look and this, no other task can run
    try:
        owns = True  # noqa: F841  # read off the frame by _owners
        direction.since = monotonic()
        return await function(*args)
    finally:
        turns.taken = False
        wake(turns)


@operations.operation("turn", owns=False)
async def wait_for_turn(direction: Direction, operation: str, report: Report) -> None:
    """Return when the caller is the first in the queue and the direction is free."""
    turns = _turns_of(direction)
    queue, ticket = turns.queue, asyncio.Event()
    try:
        queue.append(ticket)
        report(direction, operation)
        while queue[0] is not ticket or turns.taken:
            await _rung(ticket)
    except BaseException:
        if queue and queue[0] is ticket:
            queue.popleft()
            wake(turns)
        raise
    finally:
        if ticket in queue:
            queue.remove(ticket)


def wake(turns: Turns) -> None:
    """Wake the task that stands first."""
    if turns.queue:
        turns.queue[0].set()


async def _rung(ticket: asyncio.Event) -> None:
    """Wait until `ticket` is rung, or for _RECHECK."""
    timer = asyncio.get_running_loop().call_later(_RECHECK, ticket.set)
    try:
        await ticket.wait()
    finally:
        timer.cancel()
        ticket.clear()


def _turns_of(direction: Direction) -> Turns:
    assert direction.turns is not None
    return direction.turns
