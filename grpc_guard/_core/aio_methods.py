"""Methods of proxies that are operations of the asyncio api: done in C where the compiled core runs.

A method is written once, as a function that does everything. The compiled core does by itself what
is a claim of the direction, the step, and no more; for all else it has the function's own coroutine
do the operation.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from . import which
from .operations import IDENTITIES
from .stream import AioDirection
from .turns import TellOfCancel, tell_of_cancels

F = TypeVar("F", bound=Callable[..., Any])


def aio_method(
    direction: str, step: str | None = None, *, of_wrapped: str | None = None
) -> Callable[[F], F]:
    """Have a method that is marked as an operation done by the core that runs.

    `direction` is the slot of the proxy with the direction that the method claims, and `step` the
    one with its step, where that is not the direction's; `of_wrapped` is the method of what is
    wrapped that is its step. The method has one argument or none.
    """

    def done(function: F) -> F:
        if compiled is None:
            return function
        code = function.__code__
        method: F = compiled.AioMethod(
            function, IDENTITIES[id(code)], direction, step, code.co_argcount, of_wrapped
        )
        return method

    return done


def called(qualname: str) -> Callable[[F], F]:
    """Give a function the qualified name that grpcio's has.

    A program sees it: in the text of a task, in "was never awaited", in the TypeError of wrong arguments.
    """

    def name(function: F) -> F:
        function.__name__, function.__qualname__ = qualname.rpartition(".")[2], qualname
        return function

    return name


def after_cancels(tell: TellOfCancel) -> None:
    """Have ``tell(stream, operation, error, direction, proxy)`` called where C did the operation.

    And where a turn ends so, without the proxy; otherwise the functions call what they need themselves.
    """
    tell_of_cancels(tell)
    if compiled is not None:
        compiled.tell_of_cancels(tell)


def after_cancelled_handlers(tell: Callable[[Any, asyncio.CancelledError], None]) -> None:
    """Have ``tell(what, error)`` called where C ran the handler: of a stream, or of an RPC by its name."""
    if compiled is not None:
        compiled.tell_of_cancelled_handlers(tell)


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _configured() -> Any:
    chosen = which.compiled()
    if chosen is not None:
        chosen.configure_aio(
            AioDirection,
            asyncio.CancelledError,
            _awaiting,
            sys.get_coroutine_origin_tracking_depth,
        )
    return chosen


compiled = _configured()
