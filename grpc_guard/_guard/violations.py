"""From a broken rule to its consequence: compose the finding, record it, act by the mode."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

from .._catalogue.cpython_loops import running_loop_now
from .._catalogue.modes import Mode
from .._catalogue.nouns import Way
from .._catalogue.overlap import NO_CONFLICT, Overlap
from .._catalogue.rule import Evidence
from .._catalogue.rules.concurrent_read import ConcurrentRead
from .._catalogue.rules.concurrent_write import ConcurrentWrite
from .._catalogue.rules.handler_returned import LEGAL_LATE, HandlerEnded
from .._catalogue.rules.wrong_loop import (
    NOT_ASTRAY,
    NOT_STARTED_ASTRAY,
    CallAstray,
    ChannelAstray,
    Home,
    ServerAstray,
    Whereabouts,
    state_of,
)
from .._core import answers
from .._core.extras import Ticket
from .._core.stream import Direction, Stream
from .._core.turns import interrupts_party
from .._findings import parties, wording
from .._findings.errors import ConcurrencyError
from .._findings.ledger import Entry, ledger
from .._findings.origins import Origin, is_of_program
from .._findings.records import Owner
from .._findings.reporting import log, log_refusal, new_finding
from .._findings.stacks import ends_in_program, fold
from . import interceptors, owners, shareable, torn
from .long_waits import long_waits
from .meetings import LateUse, Meeting, Wait

# What two operations at once in a direction are.
CONFLICT: dict[Way, type[Overlap]] = {Way.READ: ConcurrentRead, Way.WRITE: ConcurrentWrite}


def report_conflict(direction: Direction, operation: str) -> None:
    """Act on an operation that met another in its direction, unless there is an excuse."""
    meeting = Meeting(direction, operation)
    is_torn = torn.CAN_BE and not meeting.rpc_is_over and owners.is_unknown(meeting.owner)
    if is_torn and torn.give_back(direction):
        return
    if any(excuse(meeting) for excuse in NO_CONFLICT):
        return
    probe = "" if direction.watch is None else direction.watch.collided(sys._getframe(1))
    evidence = CONFLICT[direction.way](meeting.owner, probe)
    violate(evidence, direction.stream, operation, owner=meeting.owner)


def report_wait(direction: Direction, ticket: Ticket) -> None:
    """Act on an operation that has to wait for its turn, in mode ``serialize``.

    As report_conflict(), but cheaper: if two places have met before, their finding is only
    counted. An operation that interrupts another one, and would wait for it for ever, is
    refused.
    """
    turns = direction.turns
    assert turns is not None
    met = owners.party_met(turns, ticket)
    meeting = Wait(direction, ticket, met)
    if meeting.rpc_is_over:
        return
    is_unknown = torn.may_have_been() and turns.taken and not owners.owner_with_frame(direction)
    if is_unknown and torn.give_back(direction):
        return
    long_waits.note(direction)
    can_wait = ticket.task is not None or not interrupts_party(direction)
    pair = _pair(direction, ticket, met) if can_wait else None
    known = None if pair is None else turns.counted.get(pair)
    if known is not None and not owners.is_being_cancelled(met):
        count = ledger.again(known[0])
        if count:
            log(known[0].finding, count)
            return
    if any(excuse(meeting) for excuse in NO_CONFLICT):
        return
    evidence = CONFLICT[direction.way](
        meeting.owner,
        "" if direction.watch is None else direction.watch.collided(sys._getframe(1)),
        waits=met is not None and met is not turns.inside,
        interrupts=not can_wait,
    )
    entry = violate(
        evidence, direction.stream, ticket.operation, owner=meeting.owner, can_wait=can_wait
    )
    if pair is not None:
        if len(turns.counted) >= _PAIRS_KEPT:
            turns.counted.clear()
        # With the places, so that no id is reused.
        turns.counted[pair] = entry, ticket.place, getattr(met, "place", None)


_PAIRS_KEPT = 64  # pairs of places that have met, in each direction


def _pair(direction: Direction, ticket: Ticket, met: Ticket | None) -> object:
    """Return the key by which a meeting is recognised; None if its finding may differ each time.

    It uses identities of code objects, which would hash their whole content each time.
    """
    if met is None or not direction.is_shared or direction.watch is not None:
        return None
    arrived, there = ticket.place, met.place
    if arrived is None or there is None:
        return None
    if not (is_of_program(arrived) and is_of_program(there)):
        return None  # a line of the program is further out, or elsewhere
    return (
        (id(arrived[0]), arrived[1], ticket.operation, ticket.route),
        (id(there[0]), there[1], met.operation, met.route),
        ledger.test,
    )


def may_pass(direction: Direction) -> bool:
    """Tell whether what a handler has yielded, in `direction`, is not yet on its way."""
    return direction.stream.handler is not None and interceptors.runs(direction.stream)


def is_shareable(direction: Direction, operation: str, step: Callable[..., Any]) -> bool:
    """Tell whether `step`, of an operation that met another, may be done by both at once.

    Its object keeps apart only those that come through it. An operation through another object, or a
    yield, does not.
    """
    if not shareable.is_shareable(direction, step):
        return False
    owner = owners.last_owner_of(direction)[0]
    return owner is None or _BY.get(owner.operation) == _BY.get(operation)


# Through which of the objects that a handler was given an operation goes.
_BY = {"context.read": "context", "context.write": "context", "yield": "generator"}


def check_loop(stream: Stream, operation: str) -> None:
    """Act on an aio operation that, by the quick check, runs on another loop."""
    running = running_loop_now()
    use = Whereabouts(running, cast("asyncio.AbstractEventLoop", stream.loop))
    if any(excuse(use) for excuse in NOT_ASTRAY):
        return
    _astray(CallAstray, running is not None, stream, operation)


def check_start(stream: Stream) -> None:
    """Act on the start of an aio RPC where the loop of its channel does not run."""
    running = running_loop_now()
    use = Whereabouts(running, cast("asyncio.AbstractEventLoop", stream.loop))
    if any(excuse(use) for excuse in NOT_STARTED_ASTRAY):
        return
    _astray(ChannelAstray, running is not None, stream, "start")


def failed_on_loop(
    error: Exception,
    stream: Stream,
    operation: str,
    kind: type[CallAstray | ChannelAstray | ServerAstray],
    made: Origin | None = None,
) -> None:
    """Act on the `error` of an aio coroutine that may be legal on another loop, if it ran on one.

    `made` tells where a server was made.
    """
    running = running_loop_now()
    use = Whereabouts(running, cast("asyncio.AbstractEventLoop", stream.loop))
    if isinstance(error, ConcurrencyError) or any(excuse(use) for excuse in NOT_ASTRAY):
        return
    if issubclass(kind, ServerAstray):
        maker = None if made is None else made.owner()
        seen = ServerAstray(running is not None, state_of(use.own), maker)
        violate(seen, stream, operation, owner=maker)
    else:
        _astray(kind, running is not None, stream, operation)


def _astray(
    kind: type[CallAstray | ChannelAstray], on_loop: bool, stream: Stream, operation: str
) -> None:
    """Act on the use of an aio object, of this `kind`, off its loop."""
    channel, loop = stream.channel, cast("asyncio.AbstractEventLoop", stream.loop)
    if channel is None:  # a server's, or one that was made before the guard was there
        violate(kind(on_loop), stream, operation)
    else:
        maker = channel.origin.owner()
        home = Home(maker, channel.thread, state_of(loop))
        violate(kind(on_loop, home), stream, operation, owner=maker)


def used_after_end(stream: Stream, operation: str) -> None:
    """Act on the use of a server stream object whose handler has ended, unless it is legal."""
    use = LateUse(stream, operation, sys._getframe(1))
    if any(excuse(use) for excuse in LEGAL_LATE):
        return
    violate(HandlerEnded(), stream, operation)


def violate(
    evidence: Evidence,
    stream: Stream,
    operation: str,
    *,
    owner: Owner | None = None,
    can_wait: bool = True,
    given: FrameType | None = None,
) -> Entry:
    """Record that a rule was broken; raise, log or return as the stream's mode says.

    Returns its entry in the ledger. With `can_wait` False, ``serialize`` refuses whatever the rule.
    `given` is the frame of what the caller was given: its line is told where the caller has none.
    """
    mode = stream.mode
    if mode is Mode.SERIALIZE and not (evidence.rule.waitable and can_wait):
        mode = Mode.RAISE
    caller = _caller(stream, operation, sys._getframe(1), given)
    finding = new_finding(evidence, stream.subject, caller=caller, owner=owner, mode=mode)
    entry, count = ledger.enter(finding)
    if mode is Mode.RAISE:
        log_refusal(finding, count)
        raise ConcurrencyError(finding, wording.report(finding))
    log(finding, count)
    return entry


def _caller(
    stream: Stream, operation: str, frame: FrameType, given: FrameType | None = None
) -> Owner:
    """Describe the running thread or task, which broke a rule at `frame`."""
    caller = parties.this_party(frame, operation, is_task=stream.loop is not None)
    if operation == "yield":
        caller = dataclasses.replace(caller, stack=owners.at_yield(stream))
    elif given is not None and not ends_in_program(parties.stack_within(frame)):
        caller = dataclasses.replace(caller, stack=fold([given]))
    return caller


class _Guard:
    """The answers to what the core asks."""

    report_conflict = staticmethod(report_conflict)
    report_wait = staticmethod(report_wait)
    is_shareable = staticmethod(is_shareable)
    may_pass = staticmethod(may_pass)
    used_after_end = staticmethod(used_after_end)


answers.answer_with(_Guard())
