"""A read or write that was cancelled, and the use of the stream after it: the rule cancelled-read.

Cancelling is legal as the end of a stream. It becomes a finding when a party that is not being
cancelled itself uses again what the cancellation has broken. On a client that is the whole RPC,
which grpcio cancels. On a server it is the direction alone: a cancelled read takes the next
message with it, and a cancelled write makes the next one fail.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any

from .._catalogue.boundary import overlooked
from .._catalogue.cpython import variables_of
from .._catalogue.grpcio import tells_of_the_end
from .._catalogue.nouns import CLIENT, SERVER, Way
from .._catalogue.rules.cancelled_read import (
    HARMLESS_USE,
    LEGAL_USE,
    NOTHING_BROKEN,
    OperationCancelled,
)
from .._core.aio_methods import after_cancels
from .._core.operations import operation, operation_in
from .._core.records import AioFields
from .._core.stream import AioDirection, Direction, Stream
from .._findings.origins import Origin, note_party
from .._findings.reporting import warn
from .closed import note_closed


class _Cancellation:
    """One operation that was cancelled."""

    __slots__ = ("origin", "was_reported")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.was_reported = False


class _Cancelled:
    """The error that has just ended an operation on a stream, as the excuses see it."""

    def __init__(self, stream: Stream, error: asyncio.CancelledError) -> None:
        self._stream = stream
        self._error = error

    @property
    def tells_of_the_end(self) -> bool:
        return tells_of_the_end(self._error)

    @property
    def task_is_being_cancelled(self) -> bool:
        return _is_being_cancelled(asyncio.current_task())

    @property
    def has_broken_the_stream(self) -> bool:
        return _has_broken(self._stream)


class _Use:
    """The use of a broken stream, as the excuses see it."""

    def __init__(self, stream: Stream, cancellation: _Cancellation, operation: str) -> None:
        self.was_reported = cancellation.was_reported
        self._stream = stream
        self._operation = operation
        self._cancelled = cancellation.origin.operation

    @property
    def is_given_up(self) -> bool:
        return _is_given_up(self._stream)

    @property
    def half_closes_after_read(self) -> bool:
        is_of_reads = self._cancelled not in _WRITES and self._stream.side == CLIENT
        return is_of_reads and self._operation == "done_writing" and self._stream.is_over()


_WRITES = ("write", "done_writing")

# By stream and way of the direction; and the streams on which cancel() was called.
_cancellations: weakref.WeakKeyDictionary[Stream, dict[Way, _Cancellation]] = (
    weakref.WeakKeyDictionary()
)
_given_up: weakref.WeakSet[Stream] = weakref.WeakSet()


def _look_at_token(direction: Any) -> bool:
    """Return whether `direction`, which is broken, is taken; it is about to be claimed."""
    direction.__class__ = _after_use(direction, sys._getframe(1))
    return bool(_is_taken(direction))


_flag: Any = vars(AioFields)["taken"]
_is_taken, _take = _flag.__get__, _flag.__set__


class Broken(AioDirection):
    """A direction whose next claim is a finding.

    A direction gets this class when it breaks, so that claims of all other directions cost
    nothing more. Giving it back runs no Python code either.
    """

    __slots__ = ()

    taken = property(_look_at_token, _take)

    def _has_token(self) -> bool:
        return not _is_taken(self)


def after_cancel(stream: Stream, operation: str, error: asyncio.CancelledError) -> None:
    """Note that `error` has just ended `operation`, the caller, if that has broken the stream."""
    names = variables_of(sys._getframe(1))
    after_cancel_of(stream, operation, error, names["direction"], names.get("self"))


def after_cancel_of(
    stream: Stream,
    operation: str,
    error: asyncio.CancelledError,
    direction: Direction,
    proxy: Any,
) -> None:
    """Note that `error` has just ended `operation` of `proxy`, if that has broken the stream."""
    try:
        channel = stream.channel
        if channel is not None and channel.closing is not None:
            note_closed(error, channel)
        cancelled = _Cancelled(stream, error)
        if any(excuse(cancelled) for excuse in NOTHING_BROKEN):
            return
        cancellation = _Cancellation(note_party(operation))
        known = _cancellations.setdefault(stream, {})
        for broken in _broken(stream, direction, proxy):
            known[broken.way] = cancellation
            broken.__class__ = Broken
    except Exception as failure:
        if not overlooked(failure, "a cancelled operation goes unnoticed"):
            raise


after_cancels(after_cancel_of)


def _is_being_cancelled(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether `task` is being cancelled; a task of another class may not tell."""
    cancelling = getattr(task, "cancelling", None)
    return cancelling is not None and bool(cancelling())


def _has_broken(stream: Stream) -> bool:
    """Tell whether the operation that was cancelled has broken `stream`.

    A client's write that still waits for the connection can be cancelled without harm.
    """
    if stream.side == SERVER:
        return not stream.ended
    call = stream.call()
    return call is not None and bool(call.cancelled())


def _broken(stream: Stream, direction: Direction, proxy: Any) -> Iterator[Direction]:
    """Yield the directions that break with an operation of `proxy` in `direction`."""
    yield direction
    if stream.side == CLIENT:
        # The proxy of an interceptor's own object may know another one than the stream.
        for other in (getattr(proxy, "_self_read", stream.read), stream.write):
            if other is not None and other.is_shared:
                yield other


def give_up(stream: Stream) -> None:
    """Note that cancel() ends `stream`: a program learns of it by using the stream again."""
    _given_up.add(stream)


def _is_given_up(stream: Stream) -> bool:
    channel = stream.channel
    return stream in _given_up or (channel is not None and channel.closing is not None)


@operation("await", owns=False)
def before_await(direction: Any) -> None:
    """Report an await of the response of a call whose writing `direction` is broken."""
    kind: type[AioDirection] = type(direction)
    if kind is Broken:
        direction.__class__ = _after_use(direction, sys._getframe())


def _after_use(direction: Direction, frame: FrameType) -> type[AioDirection]:
    """Report the use of a broken `direction` at `frame`; return its class from now on.

    It stays broken if the task that uses it is being cancelled, and by a use that does no harm.
    """
    try:
        stream = direction.stream
        cancellation, name = _cancellations[stream][direction.way], operation_in(frame)
        use = _Use(stream, cancellation, name)
        if any(excuse(use) for excuse in LEGAL_USE):
            return AioDirection
        is_leaving = _is_being_cancelled(asyncio.current_task())
        if is_leaving or any(excuse(use) for excuse in HARMLESS_USE):
            return Broken
        cancellation.was_reported = True
        _report(stream, cancellation.origin, name)
    except Exception as error:
        if not overlooked(error, "the use of a cancelled stream goes unnoticed"):
            raise
    return AioDirection


def _report(stream: Stream, origin: Origin, operation: str) -> None:
    cancelled = origin.owner()
    warn(
        OperationCancelled(cancelled, stream.side),
        stream.subject,
        caller=note_party(operation).owner(),
        owner=cancelled,
    )
