"""Sync operations: what ``next()`` of a guarded iterator runs.

Each stream gets a function of its own, in the slot of the proxy where ``__next__`` is looked
for, which encloses its direction. next() then reaches the direction without looking anything
up on the proxy. It runs through little of the interpreter, which matters more than the number
of instructions: gRPC has had the processor since the last message, and what has to be fetched
again is what an operation costs.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from time import monotonic
from typing import Any

from .._catalogue.nouns import Way
from .answers import used_after_end
from .conflicts import contended
from .operations import operation_within
from .stream import Direction, Stream

Step = Callable[..., Any]

# By the name `direction`, _guard/owners.py recognises the frame of an owner.


class SyncDirection(Direction):
    """A direction of a sync iterator, claimed by the function that advances it."""

    __slots__ = ("free", "iterator")

    loop_thread = None
    free: bool  # the token: there while nobody is inside

    def __init__(self, stream: Stream, iterator: Any) -> None:
        self.free = True
        self.stream = stream
        self.owner = None
        self.since = 0.0
        self._extra = None
        self.iterator = iterator
        if stream.is_instrumented:
            self.iterator = IteratorFromFunction(self._instrument(iterator.__next__))
            if self.turns is not None:
                del self.free  # never claimable: each operation takes its turn

    def _has_token(self) -> bool:
        return hasattr(self, "free")


class IteratorFromFunction:
    """Stands for an iterator where a direction, or a warning, does something around its next()."""

    __slots__ = ("__next__",)

    def __init__(self, step: Step) -> None:
        self.__next__ = step


def direction_of(advance: Any) -> Any:
    """Return the direction that a function made by this module advances."""
    (cell,) = advance.__closure__  # they enclose nothing else
    return cell.cell_contents


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
    def advance() -> Any:
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            finally:
                direction.free = True
        return contended(direction, "next", direction.iterator.__next__)

    return advance


@operation_within("advance", "next")
@operation_within("initial_metadata", "initial_metadata")
def reading_responses_or_metadata(direction: Responses, call: Any) -> tuple[Step, Step]:
    """Return what reads the next response, and what reads the initial metadata of `call`."""

    def advance() -> Any:
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            finally:
                direction.free = True
        return contended(direction, "next", direction.iterator.__next__)

    def initial_metadata() -> Any:
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return call.initial_metadata()
            finally:
                direction.free = True
        return contended(direction, "initial_metadata", call.initial_metadata)

    return advance, initial_metadata


@operation_within("advance", "next")
def reading_requests(direction: Requests) -> Step:
    def advance() -> Any:
        if direction.stream.ended:
            used_after_end(direction.stream, "next")
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            finally:
                direction.free = True
        return contended(direction, "next", direction.iterator.__next__)

    return advance


@operation_within("advance", "next(request_iterator)")
def taking_requests(direction: ClientRequests) -> Step:
    def advance() -> Any:
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                iterated = direction.iterator
                return iterated.__next__()
            finally:
                direction.free = True
        return contended(direction, "next(request_iterator)", direction.iterator.__next__)

    return advance


@operation_within("advance", "next(response_iterator)")
def taking_responses(direction: HandlerResponses) -> Step:
    def advance() -> Any:
        try:
            del direction.free
        except AttributeError:
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
                direction.free = True
        return contended(direction, "next(response_iterator)", direction.iterator.__next__)

    return advance


@operation_within("advance", "send_response")
def sending_responses(direction: SentResponses) -> Step:
    def advance(response: Any) -> None:
        if direction.stream.ended:
            used_after_end(direction.stream, "send_response")
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__(response)  # type: ignore[no-any-return]
            finally:
                direction.free = True
                if response is None:
                    direction.stream.ended = True
        contended(direction, "send_response", direction.iterator.__next__, response)

    return advance
