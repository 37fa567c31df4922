"""From a broken rule to its consequence: compose the finding, record it, act by the mode."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from types import FrameType

from .._catalogue.modes import Mode
from .._catalogue.rule import Rule
from .._catalogue.rules.handler_returned import HANDLER_RETURNED
from .._catalogue.rules.wrong_loop import WRONG_LOOP
from .._core import answers
from .._core.extras import Ticket
from .._core.stream import Direction, Stream
from .._core.turns import interrupts_party
from .._findings import parties, wording
from .._findings.errors import ConcurrencyError
from .._findings.ledger import Entry, ledger
from .._findings.origins import is_of_program
from .._findings.records import Finding, Owner
from .._findings.reporting import log, new_finding
from .._findings.stacks import grpc_is_the_caller
from . import owners


def report_conflict(direction: Direction, operation: str) -> None:
    """Act on an operation that met another in its direction.

    Nothing is wrong if the RPC is over, or if the owner is a task that is being cancelled:
    both only have to be let out of a stream that ends anyway.
    """
    if direction.stream.is_over():
        return
    owner, is_being_cancelled = owners.last_owner_of(direction)
    if is_being_cancelled or _both_half_close(operation, owner):
        return
    because = wording.is_inside(owner)
    if direction.watch is not None:
        because += direction.watch.collided(sys._getframe(1))
    violate(direction.rule, direction.stream, operation, because, owner=owner)


def report_wait(direction: Direction, ticket: Ticket) -> None:
    """Act on an operation that has to wait for its turn, in mode ``serialize``.

    The same as report_conflict(), and cheaper: where two places have met before, their finding
    is counted and not composed again. An operation that interrupts another, and would wait for
    it for ever, is refused.
    """
    stream, turns = direction.stream, direction.turns
    if stream.is_over():
        return
    assert turns is not None
    met = owners.party_met(turns, ticket)
    can_wait = ticket.task is not None or not interrupts_party(direction)
    pair = _pair(direction, ticket, met) if can_wait else None
    entry = None if pair is None else turns.counted.get(pair)
    if entry is not None and not owners.is_being_cancelled(met):
        count = ledger.again(entry[0])
        if count:
            log(entry[0].finding, count)
            return
    owner, is_being_cancelled = owners.party_to_wait(direction, met)
    if is_being_cancelled or _both_half_close(ticket.operation, owner):
        return
    because = wording.is_inside(owner)
    if owner is not None and met is not None and met is not turns.inside:
        because = wording.comes_first(owner)
    if direction.watch is not None:
        because += direction.watch.collided(sys._getframe(1))
    if not can_wait:
        because += wording.INTERRUPTED
    entered = violate(
        direction.rule, stream, ticket.operation, because, owner=owner, can_wait=can_wait
    )
    if pair is not None:
        if len(turns.counted) >= _PAIRS_KEPT:
            turns.counted.clear()
        turns.counted[pair] = entered, ticket.place, met and met.place  # so that no id comes again


_PAIRS_KEPT = 64  # of each direction: pairs of places that have met in it


def _pair(direction: Direction, ticket: Ticket, met: Ticket | None) -> object:
    """Return by what a meeting is known again; None where its finding may be another each time.

    By the identity of code objects: they hash their whole content each time.
    """
    if met is None or not direction.is_shared or direction.watch is not None:
        return None
    arrived, there = ticket.place, met.place
    if arrived is None or there is None:
        return None
    if not (is_of_program(arrived) and is_of_program(there)):
        return None  # a line of the program is further out, or elsewhere
    return (
        (id(arrived[0]), arrived[1], ticket.operation),
        (id(there[0]), there[1], met.operation),
        ledger.test,
    )


def _both_half_close(operation: str, owner: Owner | None) -> bool:
    """Tell whether both close the send side: in grpcio the second one has nothing to do then."""
    return operation == "done_writing" and owner is not None and owner.operation == operation


def check_loop(stream: Stream, operation: str) -> None:
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
    if stream.in_done_callback or grpc_is_the_caller(frame):
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
) -> Entry:
    """Record that `rule` was broken; raise, log or return as the stream's mode says.

    Returns its entry in the ledger. With `can_wait` False no waiting can heal it, whatever the rule: ``serialize`` refuses.
    """
    mode = stream.mode
    if mode is Mode.SERIALIZE and not (rule.waitable and can_wait):
        mode = Mode.RAISE
    finding = compose(rule, stream, operation, because, owner, mode, sys._getframe(1))
    entry, count = ledger.enter(finding)
    if mode is Mode.RAISE:
        raise ConcurrencyError(finding, wording.report(finding))
    log(finding, count)
    return entry


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
    caller = parties.this_party(frame, operation, is_task=stream.loop is not None)
    if operation == "yield":
        caller = dataclasses.replace(caller, stack=owners.at_yield(stream))
    message = wording.first_line(
        rule,
        rpc=stream.rpc,
        side=stream.side,
        api=stream.api,
        outcome=wording.OUTCOME[mode],
        caller=caller,
        because=because,
    )
    return new_finding(
        rule,
        rpc=stream.rpc,
        side=stream.side,
        api=stream.api,
        message=message,
        caller=caller,
        owner=owner,
    )


class _Guard:
    """What the core is answered with."""

    report_conflict = staticmethod(report_conflict)
    report_wait = staticmethod(report_wait)
    used_after_end = staticmethod(used_after_end)


answers.answer_with(_Guard())
