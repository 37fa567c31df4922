"""Exceptions of the program that vanish in grpcio: the rule lost-exception.

They are checked where they leave the program's code. No exception is kept: its type and the
lines of its traceback are copied. Where an interceptor stands between there and grpcio, it may
handle the exception: whether it has is looked at afterwards.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable
from typing import Any

from .._catalogue import grpcio_rpcs
from .._catalogue.boundary import never_disturbs
from .._catalogue.nouns import Subject
from .._catalogue.rules.lost_exception import HANDLED, NOT_LOST, HandlerCancelled, IteratorRaised
from .._core.stream import Stream
from .._findings.parties import frames_of_task, name_of_running_task
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import lines_of, others_among


class _Loss:
    """An exception on its way into grpcio, as the excuses see it."""

    def __init__(self, error: BaseException, is_over: Callable[[], bool]) -> None:
        self.is_of_grpcio = not lines_of(error)
        self._is_over = is_over

    @property
    def rpc_is_over(self) -> bool:
        return self._is_over()

    @property
    def task_is_being_cancelled(self) -> bool:
        cancelling = getattr(asyncio.current_task(), "cancelling", None)
        return cancelling is None or bool(cancelling())  # a task of another class may not tell


class _Fate:
    """What happened to an exception that an interceptor could handle."""

    def __init__(self, *, reached_grpc: bool) -> None:
        self.reached_grpc = reached_grpc


@never_disturbs("a lost exception goes unnoticed")
def iterator_raised(stream: Stream, operation: str, error: BaseException) -> None:
    """Act on the `error` of a request iterator of grpc.aio, unless that is no loss."""
    call, is_intercepted = _around(asyncio.current_task())

    def is_over() -> bool:
        return call is None or grpcio_rpcs.is_cancelled_here(call) or stream.is_over()

    if any(excuse(_Loss(error, is_over)) for excuse in NOT_LOST):
        return
    raiser = Owner("task", name_of_running_task(), operation, None, lines_of(error))
    seen = IteratorRaised(type(error).__qualname__, raiser)
    tell = functools.partial(warn, seen, stream.subject, caller=raiser)
    if is_intercepted:
        # gRPC cancels the call as soon as it has the exception.
        asyncio.get_running_loop().call_soon(_tell_of_iterator, tell, call)
    else:
        tell()


@never_disturbs("a lost exception goes unnoticed")
def handler_cancelled(subject: Subject, error: BaseException) -> None:
    """Act on the CancelledError by which a handler of grpc.aio ends, unless it is its RPC's."""
    task: Any = asyncio.current_task()
    is_over = functools.partial(grpcio_rpcs.client_has_left, task)
    if any(excuse(_Loss(error, is_over)) for excuse in NOT_LOST):
        return
    raiser = Owner("task", name_of_running_task(), "handler", None, lines_of(error))
    tell = functools.partial(warn, HandlerCancelled(raiser), subject, caller=raiser)
    if _around(task)[1]:
        handled = grpcio_rpcs.handled_in(task)
        context = None if handled is None else handled.context
        task.add_done_callback(functools.partial(_tell_of_handler, tell, context))
    else:
        tell()


def _around(task: asyncio.Task[Any] | None) -> tuple[Any, bool]:
    """Return the call whose requests `task`, which runs, takes; and whether others have called here.

    Others than gRPC and the guard.
    """
    frames = [] if task is None else frames_of_task(task, sys._getframe())
    found = grpcio_rpcs.call_that_asks(frames), others_among(frames)
    frames.clear()  # this very frame is in there, in a cycle
    return found


@never_disturbs("a lost exception goes unnoticed")
def _tell_of_iterator(tell: Callable[[], None], call: Any) -> None:
    fate = _Fate(reached_grpc=grpcio_rpcs.is_cancelled_here(call))
    if not any(excuse(fate) for excuse in HANDLED):
        tell()


@never_disturbs("a lost exception goes unnoticed")
def _tell_of_handler(tell: Callable[[], None], context: Any, task: asyncio.Task[Any]) -> None:
    has_no_status = context is not None and not context.done()
    is_lost = has_no_status and not grpcio_rpcs.client_has_left(task)
    if not any(excuse(_Fate(reached_grpc=is_lost)) for excuse in HANDLED):
        tell()
