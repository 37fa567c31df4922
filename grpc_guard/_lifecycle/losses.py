"""Exceptions of the program that vanish in grpcio: the rule lost-exception.

Looked at where they leave the program's code. Nothing of them is kept: their type and the
lines of their traceback are copied.
"""

from __future__ import annotations

import asyncio
import logging
import traceback

from .._catalogue.nouns import Subject
from .._catalogue.rule import Evidence
from .._catalogue.rules.lost_exception import NOT_LOST, HandlerCancelled, IteratorRaised
from .._core.stream import Stream
from .._findings.parties import name_of_task
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import copy_frame, is_machinery

logger = logging.getLogger("grpc_guard")


class _Loss:
    """An exception on its way into grpcio, and what is asked about it."""

    def __init__(self, stream: Stream | None) -> None:
        self.rpc_is_over = stream is not None and stream.is_over()

    @property
    def task_is_being_cancelled(self) -> bool:
        task = asyncio.current_task()
        cancelling = getattr(task, "cancelling", None)  # a task of the program's own kind lacks it
        return cancelling is None or bool(cancelling())


def iterator_raised(stream: Stream, operation: str, error: BaseException) -> None:
    """Act on the `error` of a request iterator of grpc.aio, unless that is no loss."""
    try:
        if not any(excuse(_Loss(stream)) for excuse in NOT_LOST):
            raiser = _raiser(operation, error)
            _warn(IteratorRaised(type(error).__qualname__, raiser), stream.subject, raiser)
    except Exception:
        logger.exception("a lost exception goes unnoticed")


def handler_cancelled(subject: Subject, error: asyncio.CancelledError) -> None:
    """Act on the CancelledError by which a handler of grpc.aio ends, unless it is its RPC's."""
    try:
        if not any(excuse(_Loss(None)) for excuse in NOT_LOST):
            raiser = _raiser("handler", error)
            _warn(HandlerCancelled(raiser), subject, raiser)
    except Exception:
        logger.exception("a lost exception goes unnoticed")


def _warn(evidence: Evidence, subject: Subject, raiser: Owner) -> None:
    warn(evidence, subject, caller=raiser)


def _raiser(operation: str, error: BaseException) -> Owner:
    """Return who raised `error`: the running task, with the lines through which it came."""
    frames = (
        copy_frame(frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not is_machinery(frame.f_code.co_filename)
    )
    return Owner("task", name_of_task(), operation, None, tuple(frames))
