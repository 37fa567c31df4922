"""Exceptions of the program that vanish in grpcio: the rule lost-exception.

They are checked where they leave the program's code. No exception is kept: its type and the
lines of its traceback are copied.
"""

from __future__ import annotations

import asyncio

from .._catalogue.boundary import never_disturbs
from .._catalogue.nouns import Subject
from .._catalogue.rules.lost_exception import NOT_LOST, HandlerCancelled, IteratorRaised
from .._core.stream import Stream
from .._findings.parties import name_of_running_task
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import lines_of


class _Loss:
    """An exception on its way into grpcio, as the excuses see it."""

    def __init__(self, stream: Stream | None, error: BaseException) -> None:
        self.is_of_grpcio = not lines_of(error)
        self.rpc_is_over = stream is not None and stream.is_over()

    @property
    def task_is_being_cancelled(self) -> bool:
        cancelling = getattr(asyncio.current_task(), "cancelling", None)
        return cancelling is None or bool(cancelling())  # a task of another class may not tell


@never_disturbs("a lost exception goes unnoticed")
def iterator_raised(stream: Stream, operation: str, error: BaseException) -> None:
    """Act on the `error` of a request iterator of grpc.aio, unless that is no loss."""
    if not any(excuse(_Loss(stream, error)) for excuse in NOT_LOST):
        raiser = Owner("task", name_of_running_task(), operation, None, lines_of(error))
        warn(IteratorRaised(type(error).__qualname__, raiser), stream.subject, caller=raiser)


@never_disturbs("a lost exception goes unnoticed")
def handler_cancelled(subject: Subject, error: BaseException) -> None:
    """Act on the CancelledError by which a handler of grpc.aio ends, unless it is its RPC's."""
    if not any(excuse(_Loss(None, error)) for excuse in NOT_LOST):
        raiser = Owner("task", name_of_running_task(), "handler", None, lines_of(error))
        warn(HandlerCancelled(raiser), subject, caller=raiser)
