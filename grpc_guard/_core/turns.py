"""Mode ``serialize``: callers of one direction wait for their turn, first come first served.

The queue holds one ticket per caller that has to wait. A ticket only wakes its holder. What allows
an operation is the same token as in the other modes, and the first caller in the queue claims it
in the same way. No caller checks twice and there is no timer, so no wake-up may be lost, whatever
exception is injected and wherever it arrives:

- A caller that leaves, for any reason, first gives back the token or its place, and then wakes the
  first caller in the queue. Among threads there is no call between the two, and the wake-up is
  one call into C: CPython delivers an exception after such a call, never before. Among tasks the
  wake-up runs through asyncio's own code; if that is interrupted, wake_after_all() repairs it.
- A caller puts its ticket into the queue before it looks at the token for the last time. So either
  it sees the token, or the caller that gives the token back sees the ticket.
"""

from __future__ import annotations

import asyncio
import queue as queues
import sys
import weakref
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, TypeVar

from .._catalogue.clock import monotonic
from .answers import is_shareable, may_pass, report_wait, used_after_end
from .extras import GIVE_BACK, Ticket, Turns
from .operations import asked_at
from .operations import operation as marked
from .stream import Direction, Stream

T = TypeVar("T")

_PENDING = "PENDING"  # asyncio.Future._state

# Gets the stream, the operation, the error, the direction, and the proxy or None.
TellOfCancel = Callable[[Stream, str, asyncio.CancelledError, Direction, Any], None]
_of_cancels: list[TellOfCancel] = []


def tell_of_cancels(tell: TellOfCancel) -> None:
    """Have ``tell(stream, operation, error, direction, None)`` called where a cancellation ends one's turn."""
    _of_cancels[:] = [tell]


@marked("turn")
def take_turn(direction: Direction, operation: str, function: Callable[..., T], *args: Any) -> T:
    """Do `function` when all who came earlier are out; report it if that means waiting."""
    turns = _turns_of(direction)
    queue, token = turns.queue, turns.token
    owns = False
    ticket = Ticket(operation, asked_at(sys._getframe(1).f_back))
    try:
        # CPython 3.12 takes what interrupts a jump backward to have happened before its target:
        # no jump may go back to just behind the `return`, as one from an `except` would.
        attempt = 0
        while True:
            if attempt == 1:
                if is_shareable(direction, operation, function):
                    return function(*args)
                ticket.bell = queues.SimpleQueue()  # of today: gevent may have replaced it
                queue.append(ticket)
                report_wait(direction, ticket)
            elif attempt > 1:
                ticket.bell.get()
            attempt += 1
            first = ticket
            for first in queue:  # noqa: B007  # the first alone, in one step
                break
            if first is ticket:
                try:
                    del token[1]
                except IndexError:
                    continue
                try:
                    owns = True  # noqa: F841  # read off the frame by _owners
                    turns.inside = ticket
                    direction.owner = ticket.ident
                    if attempt > 1:
                        _after_waiting(direction, ticket)
                    direction.since = ticket.since
                    return function(*args)
                finally:
                    token += GIVE_BACK
    finally:
        try:
            if ticket.bell is not None and ticket in queue:
                queue.remove(ticket)
        finally:
            for first in queue:
                first.bell.put(None)
                break


def interrupts_party(direction: Direction) -> bool:
    """Tell whether a caller of take_turn() interrupts another one of the same `direction`.

    It is a signal handler or a finaliser then: the one further out on the stack, which has the
    turn, waits for it or has not yet passed it on, cannot go on before this one ends.
    """
    frame: FrameType | None = sys._getframe(1)
    is_own = True
    while frame is not None:
        if frame.f_code is _TAKE_TURN:
            if not is_own and frame.f_locals["direction"] is direction:
                return True
            is_own = False
        frame = frame.f_back
    return False


_TAKE_TURN = take_turn.__code__


@marked("turn")
async def take_turn_async(
    direction: Direction, operation: str, function: Callable[..., Awaitable[T]], *args: Any
) -> T:
    """Do `function` when all who came earlier are out; report it if that means waiting."""
    turns = _turns_of(direction)
    queue = turns.queue
    owns = False
    ticket = ticket_of_task(operation, asked_at(sys._getframe(1).f_back))
    if queue or turns.taken:
        # What a handler yields has no ticket. An interceptor that keeps it may wait for this one.
        passes = not queue and turns.inside is None and may_pass(direction)
        if passes or is_shareable(direction, operation, function):
            return await function(*args)
        await wait_for_turn(direction, ticket)
    turns.taken = True  # between the look and this, no other task can run
    try:
        owns = True  # noqa: F841  # read off the frame by _owners
        turns.inside = ticket
        direction.since = ticket.since
        return await function(*args)
    except asyncio.CancelledError as error:
        for tell in _of_cancels if direction.is_shared else ():
            tell(direction.stream, operation, error, direction, None)
        raise
    finally:
        turns.inside = None  # what a handler yields is written without a ticket
        turns.taken = False
        try:
            wake(turns)
            on_leave, turns.on_leave = turns.on_leave, None
            if on_leave is not None:
                on_leave()
        except BaseException:
            wake_after_all(turns)
            raise


def ticket_of_task(operation: str, frame: Any = None) -> Ticket:
    """Return a ticket for the running task, which asked for its operation at `frame`."""
    task = asyncio.current_task()
    return Ticket(operation, frame, None if task is None else weakref.ref(task))


@marked("turn", owns=False)
async def wait_for_turn(direction: Direction, ticket: Ticket) -> None:
    """Return when the caller is the first in the queue and the direction is free.

    The caller has left the queue then, and claims the direction without a call in between.
    """
    turns = _turns_of(direction)
    queue = turns.queue
    new_bell = asyncio.get_running_loop().create_future
    try:
        ticket.bell = new_bell()
        queue.append(ticket)
        report_wait(direction, ticket)
        while turns.taken or queue[0] is not ticket:
            if ticket.bell._state != _PENDING:  # woken before its turn
                ticket.bell = new_bell()
                continue  # who left while that was made has not found it
            await ticket.bell
        _after_waiting(direction, ticket)
        queue.popleft()
    except BaseException:
        try:
            if ticket in queue:
                queue.remove(ticket)
        finally:
            if not turns.taken:
                try:
                    wake(turns)
                except BaseException:
                    wake_after_all(turns)
                    raise
        raise


def wake(turns: Turns) -> None:
    """Wake the task that stands first. If that is interrupted, call wake_after_all()."""
    if turns.queue:
        first = turns.queue[0]
        if first.bell._state == _PENDING:
            first.wakers = first.bell._callbacks
            try:
                first.bell.set_result(None)
            except RuntimeError:
                if not first.bell.get_loop().is_closed():  # then nobody can be woken any more
                    raise


def wake_after_all(turns: Turns) -> None:
    """Make good a wake() that an exception interrupted, if need be.

    A future that is interrupted while it has its callbacks called forgets them, and the task
    that waits for it would sleep for ever. What the loop has taken on comes before this look.
    """
    if turns.queue:
        first = turns.queue[0]
        if first.bell._state == _PENDING:
            wake(turns)
        else:
            first.bell.get_loop().call_soon(_wake_if_asleep, turns, first, first.bell)


def _wake_if_asleep(turns: Turns, ticket: Ticket, bell: Any) -> None:
    if ticket.bell is bell and ticket in turns.queue:
        for callback, context in ticket.wakers:
            context.run(callback, bell)


def _after_waiting(direction: Direction, ticket: Ticket) -> None:
    """Begin the operation now; refuse it if its handler has ended meanwhile."""
    ticket.since = monotonic()
    stream = direction.stream
    if stream.ended and stream.side == "server" and direction.is_shared:
        used_after_end(stream, ticket.operation)


def _turns_of(direction: Direction) -> Turns:
    assert direction.turns is not None
    return direction.turns
