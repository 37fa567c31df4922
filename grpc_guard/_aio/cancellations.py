"""One read or write that was cancelled, and what comes after it: the rule cancelled-read.

Cancelling is legal as the end of a stream. The finding is made when the same direction is
used again, by somebody who is not being cancelled as well.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import Any

from .. import _messages
from .._births import Birth, born
from .._guard import Stream
from .._rules_of_life import CANCELLED_READ
from .._violations import warn

logger = logging.getLogger("grpc_guard")

Step = Callable[..., Any]


def after_cancel(step: Step, stream: Stream, operation: str, error: asyncio.CancelledError) -> Step:
    """Return what to do from now on instead of `step`, which `error` has just ended.

    It is `step` itself if the RPC had ended anyway.
    """
    try:
        task: Any = asyncio.current_task()
        if stream.ended or _tells_of_the_end(error) or _is_being_cancelled(task) is False:
            return step
        return _Again(step, stream, born(operation), weakref.ref(task))
    except Exception:
        logger.exception("a cancelled operation goes unnoticed")
        return step


def _tells_of_the_end(error: asyncio.CancelledError) -> bool:
    """Tell whether grpcio raised `error` to say that the call had been cancelled before."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_raise_for_status":
            return True
        trace = trace.tb_next
    return False


def _is_being_cancelled(task: object) -> bool | None:
    """Tell whether somebody is cancelling `task`; None on Python 3.10, which cannot tell."""
    cancelling = getattr(task, "cancelling", None)
    return None if cancelling is None else bool(cancelling())


class _Again:
    """The next operation after one that was cancelled; holds no direction and no task."""

    def __init__(
        self,
        step: Step,
        stream: Stream,
        birth: Birth,
        task: weakref.ref[asyncio.Task[Any]],
    ) -> None:
        self._step = step
        self._stream = stream
        self._birth = birth
        self._task = task
        self._is_told = False

    def __call__(self, *args: Any) -> Any:
        try:
            if not self._is_told and not self._is_on_its_way_out():
                self._is_told = True
                self._tell()
        except Exception:
            logger.exception("the use of a cancelled stream goes unnoticed")
        return self._step(*args)

    def _is_on_its_way_out(self) -> bool:
        task = asyncio.current_task()
        answer = _is_being_cancelled(task)
        if answer is None:
            return task is self._task()
        return answer

    def _tell(self) -> None:
        stream = self._stream
        warn(
            CANCELLED_READ,
            rpc=stream.rpc,
            side=stream.side,
            api=stream.api,
            because=_messages.was_cancelled(self._birth, stream.side),
            caller=born(self._birth.operation).owner(),
            owner=self._birth.owner(),
        )
