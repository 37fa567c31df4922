"""From a broken rule to its consequence: compose the finding, record it, act by the mode."""

from __future__ import annotations

import dataclasses
import sys
from types import FrameType

from .._catalogue.cpython_loops import running_loop
from .._catalogue.modes import Mode
from .._catalogue.rule import Rule
from .._catalogue.rules.handler_returned import HANDLER_RETURNED
from .._catalogue.rules.wrong_loop import WRONG_LOOP
from .._core import conflicts
from .._core.stream import Direction, Stream
from .._findings import parties, wording
from .._findings.errors import ConcurrencyError
from .._findings.ledger import ledger
from .._findings.records import Finding, Owner
from .._findings.reporting import log, new_finding
from .._findings.stacks import grpc_is_the_caller
from . import owners


def report_conflict(direction: Direction, operation: str) -> None:
    """Act on an operation that met another in its direction.

    Nothing is wrong if the RPC is over, or if the owner is a task that is being cancelled:
    both only have to be let out of a stream that ends anyway.
    """
    stream = direction.stream
    if stream.is_over():
        return
    owner, is_being_cancelled = owners.last_owner_of(direction)
    if is_being_cancelled:
        return
    if operation == "done_writing" and owner is not None and owner.operation == operation:
        return  # grpcio makes it idempotent: the second one has nothing to do
    because = wording.is_inside(owner)
    if direction.watch is not None:
        because += direction.watch.collided(sys._getframe(1))
    violate(
        direction.rule,
        stream,
        operation,
        because,
        owner=owner,
        can_wait=not owners.interrupts_owner(direction, sys._getframe(1)),
    )


def check_loop(stream: Stream, operation: str) -> None:
    """Act on an aio operation whose quick look said that it runs on another loop."""
    running = running_loop()
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
        raise ConcurrencyError(finding, wording.report(finding))
    log(finding, count)


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
    used_after_end = staticmethod(used_after_end)


conflicts.answer_with(_Guard())
