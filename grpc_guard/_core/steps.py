"""Sync operations: what ``next()`` of a guarded iterator runs.

Each stream gets a function of its own, in the slot of the proxy where ``__next__`` is looked
for, and the token is a variable that the function encloses. next() then reaches the
token without looking anything up on the proxy, and claims and gives back by one instruction
each. Both run through little of the interpreter, which matters more than their number: gRPC
has had the processor since the last message, and what has to be fetched again is what an
operation costs.

A limit: a trace or profile function written in Python runs, with the signal handlers that are
due, at the line of the ``try`` and of the ``finally``, where an exception leaves the token away;
and up to Python 3.12 the interpreter writes back what one that reads ``f_locals`` has seen of
the token, whatever another thread has done to it since. No order of Python statements closes
either; a claim in C, which has no lines and no variables, does (issue "core").
"""

# ruff: noqa: F841  # that `free` is there again is what the next claim sees

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from time import monotonic
from typing import Any

from .._catalogue.nouns import Way
from .answers import used_after_end
from .conflicts import contended
from .operations import operation_within
from .records import SyncFields
from .stream import Direction

Step = Callable[..., Any]

# Where the functions keep what they enclose: in alphabetical order. By the name `direction`,
# _guard/owners.py recognises the frame of an owner.
_DIRECTION = 0  # and then the token: see bind_token() in fields.py


class SyncDirection(Direction, SyncFields):
    """A direction of a sync iterator, claimed by the function that advances it."""

    __slots__ = ()

    loop_thread = None

    def _equip(self) -> None:
        self.iterator = IteratorFromFunction(self._instrument(self.iterator.__next__))

    def _withhold(self) -> None:
        if self.turns is not None:
            del self._token.cell_contents  # never claimable: each operation takes its turn

    def _has_token(self) -> bool:
        try:
            return bool(self._token.cell_contents)
        except ValueError:
            return False


class IteratorFromFunction:
    """Stands for an iterator where a direction, or a warning, does something around its next()."""

    __slots__ = ("__next__",)

    def __init__(self, step: Step) -> None:
        self.__next__ = step


def direction_of(advance: Any) -> Any:
    """Return the direction that a function made by this module advances."""
    return advance.__closure__[_DIRECTION].cell_contents


class Responses(SyncDirection):
    """A client that reads its responses."""

    __slots__ = ()

    way = Way.READ


class Requests(SyncDirection):
    """A handler that reads its requests, which end with it."""

    __slots__ = ()

    way = Way.READ


class ClientRequests(SyncDirection):
    """gRPC's own thread, which advances a client's request iterator."""

    __slots__ = ()

    way = Way.WRITE
    is_shared = False


class HandlerResponses(SyncDirection):
    """gRPC, which advances a handler's response iterator; the handler ends when that does."""

    __slots__ = ()

    way = Way.WRITE
    is_shared = False


class SentResponses(SyncDirection):
    """A non-blocking handler, which sends its responses; None ends it."""

    __slots__ = ()

    way = Way.WRITE


# Each returns what advances a direction; once, for the token is the function's own.


@operation_within("advance", "next")
def reading_responses(direction: Responses) -> Step:
    free = True

    def advance() -> Any:
        nonlocal free
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            finally:
                free = True
        return contended(direction, "next", direction.iterator.__next__)

    return direction.bind_token(advance)  # type: ignore[no-any-return]


@operation_within("advance", "next")
@operation_within("initial_metadata", "initial_metadata")
def reading_responses_or_metadata(direction: Responses, call: Any) -> tuple[Step, Step]:
    """Return what reads the next response, and what reads the initial metadata of `call`."""
    free = True

    def advance() -> Any:
        nonlocal free
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            finally:
                free = True
        return contended(direction, "next", direction.iterator.__next__)

    def initial_metadata() -> Any:
        nonlocal free
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return call.initial_metadata()
            finally:
                free = True
        return contended(direction, "initial_metadata", call.initial_metadata)

    return direction.bind_token(advance), initial_metadata


@operation_within("advance", "next")
def reading_requests(direction: Requests) -> Step:
    free = True

    def advance() -> Any:
        nonlocal free
        if direction.stream.ended:
            used_after_end(direction.stream, "next")
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            finally:
                free = True
        return contended(direction, "next", direction.iterator.__next__)

    return direction.bind_token(advance)  # type: ignore[no-any-return]


@operation_within("advance", "next(request_iterator)")
def taking_requests(direction: ClientRequests) -> Step:
    free = True

    def advance() -> Any:
        nonlocal free
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                iterated = direction.iterator
                return iterated.__next__()
            finally:
                free = True
        return contended(direction, "next(request_iterator)", direction.iterator.__next__)

    return direction.bind_token(advance)  # type: ignore[no-any-return]


@operation_within("advance", "next(response_iterator)")
def taking_responses(direction: HandlerResponses) -> Step:
    free = True

    def advance() -> Any:
        nonlocal free
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                iterated = direction.iterator
                return iterated.__next__()
            except BaseException:
                direction.stream.ended = True
                raise
            finally:
                free = True
        return contended(direction, "next(response_iterator)", direction.iterator.__next__)

    return direction.bind_token(advance)  # type: ignore[no-any-return]


@operation_within("advance", "send_response")
def sending_responses(direction: SentResponses) -> Step:
    free = True

    def advance(response: Any) -> None:
        nonlocal free
        if direction.stream.ended:
            used_after_end(direction.stream, "send_response")
        try:
            del free
        except NameError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                direction.iterator.__next__(response)
                return
            finally:
                free = True
                if response is None:
                    direction.stream.ended = True
        contended(direction, "send_response", direction.iterator.__next__, response)

    return direction.bind_token(advance)  # type: ignore[no-any-return]
