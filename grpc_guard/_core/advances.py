"""What ``next()`` of a guarded iterator runs, in Python: the claim, the step, and the way out.

The reference; c/steps.c does the same, and a test compares them.

Each stream gets a function of its own, in the slot of the proxy where ``__next__`` is looked
for, which encloses its direction. next() then reaches the direction without looking anything
up on the proxy. It runs through little of the interpreter, which matters more than the number
of instructions: gRPC has had the processor since the last message, and what has to be fetched
again is what an operation costs.
"""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from inspect import Parameter, Signature
from time import monotonic
from typing import Any

from .answers import used_after_end
from .conflicts import contended
from .operations import operation_within

Step = Callable[..., Any]

# By the name `direction`, _guard/owners.py recognises the frame of an owner.

# Each returns what advances a direction; once, for the token is the function's own.


@operation_within("advance", "next")
def reading_responses(direction: Any) -> Step:
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
def reading_responses_or_metadata(direction: Any, call: Any) -> tuple[Step, Step]:
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
def reading_requests(direction: Any) -> Step:
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
def taking_requests(direction: Any) -> Step:
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
def taking_responses(direction: Any) -> Step:
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
def sending_responses(direction: Any) -> Step:
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


def direction_of(advance: Any) -> Any:
    """Return the direction that a function made by this module advances."""
    (cell,) = advance.__closure__  # they enclose nothing else
    return cell.cell_contents


def signature_of(*names: str) -> Signature:
    """Return the signature of a compiled operation, as inspect finds that of one in Python."""
    return Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
