"""What ``next()`` of a guarded iterator runs, in Python: the claim, the step, and the way out.

The reference; c/steps.c does the same, and a test compares them.

Each is a method of its direction, and is in the slot of the proxy where ``__next__`` is looked
for. next() then reaches the direction without looking anything up on the proxy. It runs through
little of the interpreter, which matters more than the number of instructions: gRPC has had the
processor since the last message, and what has to be fetched again is what an operation costs.
"""

from __future__ import annotations

import functools
import operator
from _thread import get_ident
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from .._catalogue.clock import monotonic
from .._catalogue.nouns import SERVER
from .answers import used_after_end
from .conflicts import contended
from .operations import operation

Step = Callable[..., Any]

# By the name `direction`, _guard/owners.py recognises the frame of an owner.


def _claiming(
    name: str, *, of_handler: bool = False, ends: bool = False, iterates: bool = False
) -> Callable[[Any], Step]:
    """Return what binds operation `name` to a direction: the claim, a step, the way out.

    `of_handler`: refused once the handler has ended. `ends`: the RPC ends with what the step
    raises. `iterates`: the step is the program's own code.
    """

    @operation(name, iterates=iterates)
    def advance(direction: Any) -> Any:
        if of_handler and direction.stream.ended:
            used_after_end(direction.stream, name)
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return direction.iterator.__next__()
            except BaseException:
                if ends:
                    direction.stream.ended = True
                raise
            finally:
                direction.free = True
        return contended(direction, name, direction.iterator.__next__)

    return advance.__get__


def _sending() -> Callable[[Any], Step]:
    """Return the same for what sends a response; None is the last."""

    @operation("send_response")
    def advance(direction: Any, response: Any) -> None:
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

    return advance.__get__


def _doing(name: str) -> Callable[..., Any]:
    """Return operation `name` of a direction, whose step is given: another one than its ``next()``.

    To choose the step in _claiming() would cost each message.
    """

    @operation(name)
    def do(direction: Any, step: Step, *args: Any, **kwargs: Any) -> Any:
        if direction.stream.side == SERVER and direction.stream.ended:
            used_after_end(direction.stream, name)
        try:
            del direction.free
        except AttributeError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                return step(*args, **kwargs)
            finally:
                direction.free = True
        step = functools.partial(step, **kwargs) if kwargs else step
        return contended(direction, name, step, *args)

    return do


# Each of these takes a direction, and returns what advances it.
reading_responses = _claiming("next")
reading_requests = _claiming("next", of_handler=True)
taking_requests = _claiming("next(request_iterator)", iterates=True)
taking_responses = _claiming("next(response_iterator)", ends=True, iterates=True)
sending_responses = _sending()

_metadata_of = operator.methodcaller("initial_metadata")
_read_metadata = _doing("initial_metadata")
do_next = _doing("next")  # of an object whose next() does not do what its __next__() does


def reading_responses_or_metadata(direction: Any, call: Any) -> tuple[Step, Step]:
    """Return what reads the next response, and what reads the initial metadata of `call`."""
    return reading_responses(direction), functools.partial(
        _read_metadata, direction, _metadata_of, call
    )


def ending(step: Step, stream: Any) -> Step:
    """Return `step`, which asks a handler for its next response, where no claim notes how that ends."""

    def take() -> Any:
        try:
            return step()
        except BaseException:
            stream.ended = True
            raise

    return take


def ending_with_none(step: Step, stream: Any) -> Step:
    """Return the same of one that sends a response; None is the last."""

    def send(response: Any) -> Any:
        try:
            return step(response)
        finally:
            if response is None:
                stream.ended = True

    return send


def direction_of(advance: Any) -> Any:
    """Return the direction that a method of this module advances."""
    return advance.__self__


def signature_of(*names: str) -> Signature:
    """Return the signature of a compiled operation, as inspect finds that of one in Python."""
    return Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
