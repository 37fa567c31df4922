"""Async request iterators that outlive their RPC: the rule parked-request-iterator, aio.

grpcio does not tell an iterator that its RPC has ended. If gRPC is in the iterator at that
moment, its direction gets another class, which observes how the iterator is left; in mode
``serialize`` its turns tell that. A direction whose RPC has not ended pays nothing.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import weakref
from collections import deque
from typing import Any

from .._catalogue.boundary import asked, never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.rules.parked_request_iterator import Parked, TookOneMore
from .._catalogue.thresholds import thresholds
from .._core.records import AioFields
from .._core.stream import GrpcDriven, Stream
from .._findings.parties import name_of_running_task
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import lines_of

_MOMENT = 0.1  # seconds that an iterator has to end when its loop ends too

_flag: Any = vars(AioFields)["taken"]
_is_taken, _take = _flag.__get__, _flag.__set__

# What finalisers have found: they may not report it themselves.
_found: deque[tuple[Stream, Owner, Owner]] = deque()


class _LateStep:
    """The next step of an iterator whose RPC has ended, and when that was."""

    __slots__ = ("since", "step")

    def __init__(self, step: Any) -> None:
        self.step = step
        self.since = monotonic()


def _leave(direction: Any, value: bool) -> None:
    """Give back `direction`, whose RPC is over, and check how its iterator has been left."""
    _take(direction, value)
    if not value:
        ended_at = direction.step.since
        direction.step = direction.step.step
        direction.__class__ = GrpcDriven
        _was_left(direction, monotonic() - ended_at, sys.exc_info()[1])


class Outlived(GrpcDriven):
    """A direction whose RPC ended while gRPC was in the request iterator."""

    __slots__ = ()

    taken = property(lambda direction: _is_taken(direction), _leave)

    def _has_token(self) -> bool:
        return not _is_taken(self)


def watch_end(call: Any, stream: Stream) -> None:
    """Check the request iterator of `stream` when the RPC of `call` has ended."""
    direction = stream.write
    if direction is None:
        return
    # It must not hold the direction: that holds the iterator.
    asked(call, "add_done_callback", functools.partial(_rpc_ended, weakref.ref(direction)))


def _rpc_ended(reference: weakref.ref[Any], call: Any) -> None:
    direction = reference()
    # cancel() ends the iterator as well: it is being cancelled now.
    # The reference is dead (None), or the direction has its new class already: both are of another
    # type.
    if type(direction) is not GrpcDriven or direction.is_free or call.cancelled():
        return
    if direction.turns is None:
        direction.step = _LateStep(direction.step)
        direction.__class__ = Outlived
    else:
        # A weak reference would be dead already where the collector ends the iterator.
        direction.turns.on_leave = functools.partial(_turn_was_left, direction, monotonic())


def _turn_was_left(direction: Any, ended_at: float) -> None:
    _was_left(direction, monotonic() - ended_at, sys.exc_info()[1])


@never_disturbs("a parked request iterator goes unnoticed")
def _was_left(direction: Any, seconds: float, error: BaseException | None) -> None:
    stream = direction.stream
    if stream.origin is None:
        return
    starter = stream.origin.owner()
    patience = thresholds().parked_iterator_seconds
    if error is None:
        if seconds >= patience:
            task = Owner("task", name_of_running_task(), "anext(request_iterator)", seconds)
            warn(TookOneMore(seconds, starter), stream.subject, caller=starter, owner=task)
        return
    if not isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return  # it has ended by itself
    if seconds >= min(_MOMENT, patience):
        is_collected = isinstance(error, GeneratorExit)
        name = "(collected)" if is_collected else name_of_running_task()
        held = max(0.0, monotonic() - direction.since)
        inside = Owner("task", name, "anext(request_iterator)", held, lines_of(error))
        _found.append((stream, inside, starter))
        if not is_collected:
            tell_parked()


def tell_parked() -> None:
    """Warn of the request iterators that have been found parked."""
    while _found:
        stream, inside, starter = _found.popleft()
        warn(Parked(inside, starter), stream.subject, caller=starter, owner=inside)
