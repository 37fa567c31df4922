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
from typing import Any

from .._catalogue.clock import monotonic
from .answers import used_after_end
from .conflicts import contended
from .operations import operation_within

Step = Callable[..., Any]

# By the name `direction`, _guard/owners.py recognises the frame of an owner.


def _claiming(
    name: str, *, of_handler: bool = False, ends: bool = False, iterates: bool = False
) -> Callable[[Any, Any], Step]:
    """Return what makes functions that do operation `name` of a direction: the claim, a step, the way out.

    `of_handler`: refused once the handler has ended. `ends`: the RPC ends with what the step
    raises. `iterates`: the step is the program's own code.
    """

    @operation_within("advance", name, iterates=iterates)
    def claiming(direction: Any, source: Any) -> Step:
        def advance() -> Any:
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
                    return source.iterator.__next__()
                except BaseException:
                    if ends:
                        direction.stream.ended = True
                    raise
                finally:
                    direction.free = True
            return contended(direction, name, source.iterator.__next__)

        return advance

    return claiming


_read_response = _claiming("next")
_read_metadata = _claiming("initial_metadata")
_read_request = _claiming("next", of_handler=True)
_take_request = _claiming("next(request_iterator)", iterates=True)
_take_response = _claiming("next(response_iterator)", ends=True, iterates=True)


class _InitialMetadata:
    """Stands for a direction and its iterator, whose next step waits for the metadata of `call`."""

    __slots__ = ("_call",)

    def __init__(self, call: Any) -> None:
        self._call = call

    @property
    def iterator(self) -> _InitialMetadata:
        return self

    def __next__(self) -> Any:
        return self._call.initial_metadata()


# Each of these returns what advances a direction; once, for the token is the function's own.


def reading_responses(direction: Any) -> Step:
    return _read_response(direction, direction)


def reading_responses_or_metadata(direction: Any, call: Any) -> tuple[Step, Step]:
    """Return what reads the next response, and what reads the initial metadata of `call`."""
    return reading_responses(direction), _read_metadata(direction, _InitialMetadata(call))


def reading_requests(direction: Any) -> Step:
    return _read_request(direction, direction)


def taking_requests(direction: Any) -> Step:
    return _take_request(direction, direction)


def taking_responses(direction: Any) -> Step:
    return _take_response(direction, direction)


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
    return advance.__closure__[advance.__code__.co_freevars.index("direction")].cell_contents


def signature_of(*names: str) -> Signature:
    """Return the signature of a compiled operation, as inspect finds that of one in Python."""
    return Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
