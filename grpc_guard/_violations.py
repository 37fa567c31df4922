"""From a broken rule to its consequence: compose the finding, record it, act by the mode."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import sys
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any, TypeVar

from . import _messages, _owners, _turns
from ._errors import ConcurrencyError
from ._findings import Finding, Owner, ledger
from ._guard import Direction, Stream
from ._modes import Mode
from ._rules import HANDLER_RETURNED, WRONG_LOOP, Rule
from ._stacks import grpc_is_the_caller

logger = logging.getLogger("grpc_guard")

T = TypeVar("T")


@_owners.operation("contended", owns=False)
def contended(direction: Direction, operation: str, function: Callable[..., T], *args: Any) -> T:
    """Do a sync operation that found its direction taken, or raise ConcurrencyError."""
    if direction.turns is not None:
        return _turns.take_turn(direction, operation, collide, function, *args)
    collide(direction, operation)
    return function(*args)


@_owners.operation("contended", owns=False)
async def contended_async(
    direction: Direction, operation: str, function: Callable[..., Awaitable[T]], *args: Any
) -> T:
    """Do an aio operation that found its direction taken, or raise ConcurrencyError."""
    if direction.turns is not None:
        return await _turns.take_turn_async(direction, operation, collide, function, *args)
    collide(direction, operation)
    return await function(*args)


def collide(direction: Direction, operation: str) -> None:
    """Act on an operation that met another in its direction.

    Nothing is wrong if the RPC is over, or if the owner is a task that is being cancelled:
    both only have to be let out of a stream that ends anyway.
    """
    stream = direction.stream
    if stream.is_over():
        return
    owner, is_being_cancelled = _owners.last_owner_of(direction)
    if is_being_cancelled:
        return
    if operation == "done_writing" and owner is not None and owner.operation == operation:
        return  # grpcio makes it idempotent: the second one has nothing to do
    because = _messages.is_inside(owner)
    if direction.watch is not None:
        because += direction.watch.collided(sys._getframe(1))
    violate(
        direction.rule,
        stream,
        operation,
        because,
        owner=owner,
        can_wait=not _owners.interrupts_owner(direction, sys._getframe(1)),
    )


def astray(stream: Stream, operation: str) -> None:
    """Act on an aio operation whose quick look said that it runs on another loop."""
    running = asyncio._get_running_loop()
    if running is not stream.loop:
        where = "no event loop" if running is None else "another event loop"
        violate(
            WRONG_LOOP, stream, operation, f"it runs on {where} than the one that owns the call"
        )


def used_after_end(stream: Stream, operation: str) -> None:
    """Act on the use of a server stream object whose handler has ended.

    Legal are done-callbacks, and gRPC's own sender for another call, to which the handler
    gave its requests: it may notice the end only by asking once more.
    """
    frame = sys._getframe(1)
    if stream.visited or grpc_is_the_caller(frame):
        return
    violate(HANDLER_RETURNED, stream, operation, "its handler has ended")


def violate(
    rule: Rule,
    stream: Stream,
    operation: str,
    because: str,
    *,
    owner: Owner | None = None,
    can_wait: bool = True,
) -> None:
    """Record that `rule` was broken; raise, log or return as the stream's mode says.

    With `can_wait` False no waiting can heal it, whatever the rule: ``serialize`` refuses.
    """
    mode = stream.mode
    if mode is Mode.SERIALIZE and not (rule.waitable and can_wait):
        mode = Mode.RAISE
    finding = compose(rule, stream, operation, because, owner, mode, sys._getframe(1))
    count = ledger.record(finding)
    if mode is Mode.RAISE:
        raise ConcurrencyError(finding, _messages.report(finding))
    if _is_worth_a_line(count):
        logger.warning("%s", _messages.report(finding))


def compose(
    rule: Rule,
    stream: Stream,
    operation: str,
    because: str,
    owner: Owner | None,
    mode: Mode,
    frame: FrameType,
) -> Finding:
    """Return the finding for a rule broken by the running thread or task at `frame`."""
    caller = _owners.this_party(frame, operation, is_task=stream.loop is not None)
    if operation == "yield":
        caller = dataclasses.replace(caller, stack=_owners.at_yield(stream))
    message = _messages.first_line(
        rule,
        rpc=stream.rpc,
        side=stream.side,
        api=stream.api,
        outcome=_messages.OUTCOME[mode],
        caller=caller,
        because=because,
    )
    return _finding(
        rule,
        rpc=stream.rpc,
        side=stream.side,
        api=stream.api,
        message=message,
        caller=caller,
        owner=owner,
    )


def _finding(rule: Rule, **particulars: Any) -> Finding:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return Finding(
        rule=rule,
        severity=rule.severity,
        remedy=rule.remedy,
        test=ledger.test,
        time=now.replace("+00:00", "Z"),
        **particulars,
    )


def warn(
    rule: Rule,
    *,
    rpc: str,
    side: str,
    api: str,
    because: str,
    caller: Owner,
    owner: Owner | None = None,
) -> None:
    """Record that a rule of a life was broken, and log it; never raises.

    `caller` is the party whose line a reader should look at (of a leak: who made it; of a
    use: who used it), `owner` the other one, if there is one. `rpc` is the RPC, or for a
    channel its target. `because` says what was seen, for how long, and where it was made.
    """
    try:
        message = _messages.noticed(
            rule, rpc=rpc, side=side, api=api, caller=caller, because=because
        )
        finding = _finding(
            rule, rpc=rpc, side=side, api=api, message=message, caller=caller, owner=owner
        )
        if _is_worth_a_line(ledger.record(finding)):
            logger.warning("%s", _messages.report(finding))
    except Exception:
        logger.exception("a warning of the rule %s was lost", rule)


def _is_worth_a_line(count: int) -> bool:
    """Log the first of equal findings and then every tenfold: a hot loop must not fill the disk."""
    return str(count).strip("0") == "1"
