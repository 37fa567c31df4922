"""Exceptions of the program that vanish in grpcio: the rule lost-exception.

They are checked where they leave the program's code. No exception is kept for longer than a turn of
the loop: its type and the lines of its traceback are copied. Where an interceptor stands between there and grpcio, it may
handle the exception: whether it has is looked at afterwards.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import traceback
import weakref
from collections.abc import Callable
from types import FrameType
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


# What an interceptor may still handle, by the task that handles the RPC: only the last can be lost.
_untold: weakref.WeakKeyDictionary[asyncio.Task[Any], tuple[Callable[[], None], Any]] = (
    weakref.WeakKeyDictionary()
)


@never_disturbs("a lost exception goes unnoticed")
def iterator_raised(stream: Stream, operation: str, error: BaseException) -> None:
    """Act on the `error` of a request iterator of grpc.aio, unless that is its end, or no loss."""
    if isinstance(error, StopAsyncIteration):
        return
    frames = _frames_of(asyncio.current_task())
    call, is_intercepted = grpcio_rpcs.call_that_asks(frames), others_among(frames)
    frames.clear()  # this very frame is in there, in a cycle

    def is_over() -> bool:
        return call is None or grpcio_rpcs.is_cancelled_here(call) or stream.is_over()

    if any(excuse(_Loss(error, is_over)) for excuse in NOT_LOST):
        return
    raiser = Owner("task", name_of_running_task(), operation, None, lines_of(error))
    seen = IteratorRaised(type(error).__qualname__, raiser)
    tell = functools.partial(warn, seen, stream.subject, caller=raiser)
    if is_intercepted:
        # By then it has come as far as it comes without a wait, and its traceback says how far.
        asyncio.get_running_loop().call_soon(_tell_of_iterator, tell, error)
    else:
        tell()


@never_disturbs("a lost exception goes unnoticed")
def handler_cancelled(subject: Subject, error: BaseException) -> None:
    """Act on the CancelledError by which a handler of grpc.aio ends, unless it is its RPC's."""
    task: Any = asyncio.current_task()
    frames = _frames_of(task)
    is_intercepted = others_among(frames)
    frames.clear()  # this very frame is in there, in a cycle

    def is_over() -> bool:  # which is looked at later, if the exception may yet be handled
        return not is_intercepted and grpcio_rpcs.client_has_left(task)

    if any(excuse(_Loss(error, is_over)) for excuse in NOT_LOST):
        return
    raiser = Owner("task", name_of_running_task(), "handler", None, lines_of(error))
    tell = functools.partial(warn, HandlerCancelled(raiser), subject, caller=raiser)
    if not is_intercepted:
        tell()
    elif grpcio_rpcs.handles_an_rpc(task):  # else who awaits this task may handle it
        if task not in _untold:
            task.add_done_callback(_tell_of_handler)
        _untold[task] = tell, grpcio_rpcs.context_in(task)
        # Before its first wait, a task does not show the context.
        task.get_loop().call_soon(_find_context, task)


def _frames_of(task: asyncio.Task[Any] | None) -> list[FrameType]:
    """Return the frames of `task`, which runs."""
    return [] if task is None else frames_of_task(task, sys._getframe(1))


@never_disturbs("a lost exception goes unnoticed")
def _tell_of_iterator(tell: Callable[[], None], error: BaseException) -> None:
    way = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    fate = _Fate(reached_grpc=grpcio_rpcs.call_that_asks(way) is not None)
    if not any(excuse(fate) for excuse in HANDLED):
        tell()


@never_disturbs("a lost exception goes unnoticed")
def _find_context(task: asyncio.Task[Any]) -> None:
    told = _untold.get(task)
    if told is not None and told[1] is None:
        _untold[task] = told[0], grpcio_rpcs.context_in(task)


@never_disturbs("a lost exception goes unnoticed")
def _tell_of_handler(task: asyncio.Task[Any]) -> None:
    tell, context = _untold.pop(task)
    # A task without a context has ended before its first wait: no status was sent.
    has_no_status = context is None or not context.done()
    is_lost = has_no_status and not grpcio_rpcs.client_has_left(task)
    if not any(excuse(_Fate(reached_grpc=is_lost)) for excuse in HANDLED):
        tell()
