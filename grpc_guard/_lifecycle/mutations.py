"""Messages that are changed while they wait to be sent: the rule message-mutated.

grpcio serializes a message when write() takes it, except for the calls of grpc.aio that have client
interceptors: their write() puts the message itself into a queue. The guard compares the message
when it leaves the queue, before interceptors, which may change it, see it. It also compares a
message that is written again in the turn of the loop in which its write() returned: whether it had
been serialized before is then a matter of luck. The guard keeps a serialized copy, which goes with
the queue; it holds the message itself no longer than that turn.
"""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.grpcio import queue_of_writes
from .._catalogue.messages import contents_of, has_changed
from .._catalogue.rules.message_mutated import NOT_SENT, ChangedAtOnce, ChangedInQueue
from .._core.stream import Stream
from .._findings.origins import Origin, note_origin
from .._findings.parties import this_party
from .._findings.records import Owner
from .._findings.reporting import warn

_LARGE = 65536  # bytes; a program would notice if such messages were serialized again


class Handed:
    """A message that a write() takes: its identity, its contents, and which party wrote it where.

    The write() of the intercepted `call` runs in a ``with`` block: if it fails, the program may
    change the message freely.
    """

    __slots__ = ("_call", "_given", "contents", "ident", "message", "stream", "writer")

    contents: bytes | None  # None if the message is not compared
    writer: Origin | Owner

    def __init__(self, call: Any, message: object, stream: Stream) -> None:
        self._call, self._given = call, message  # while write() runs
        self.ident = id(message)  # unique while the message waits
        self.message: object = None  # in the turn in which its write() returned, else None
        self.contents = None
        self.stream = stream

    @property
    def rpc_is_over(self) -> bool:
        return self.stream.is_over()

    def __enter__(self) -> None:
        _hand_over(self._call, self._given, self)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        call, message = self._call, self._given
        self._call = self._given = None
        if self.contents is None:
            return
        (_taken_over if error is None else _take_back)(call, message, self)

    def has_returned(self, message: object) -> None:
        """Note that its write() has just returned, until the loop turns."""
        self.message = message
        asyncio.get_running_loop().call_soon(self._turned)

    def _turned(self) -> None:
        self.message = None


class Watched(asyncio.Queue[Any]):
    """A queue of grpcio whose messages are compared when they leave it."""

    waiting: dict[Handed, None]
    last: Handed | None
    is_looked_at: bool

    def _get(self) -> Any:
        message = super()._get()
        ident = id(message)
        handed = next((one for one in self.waiting if one.ident == ident), None)
        if handed is not None:
            del self.waiting[handed]
            _look(ChangedInQueue, handed, message)
        return message


@never_disturbs("a message that is changed goes unnoticed")
def _hand_over(call: Any, message: object, handed: Handed) -> None:
    queue = _watched(queue_of_writes(call))
    contents = None if queue is None or not queue.is_looked_at else contents_of(message)
    if queue is None or contents is None:
        return
    # In a run or a test session, where operations are counted, the cost does not matter.
    queue.is_looked_at = handed.stream.is_instrumented or len(contents) <= _LARGE
    last = queue.last
    if last is not None and last.message is message:
        queue.waiting.pop(last, None)
        _look(ChangedAtOnce, last, message)
    handed.writer = _writer(sys._getframe(3))
    handed.contents = contents
    queue.waiting[handed] = None


@never_disturbs("a message that is changed goes unnoticed")
def _taken_over(call: Any, message: object, handed: Handed) -> None:
    handed.has_returned(message)
    queue_of_writes(call).last = handed


@never_disturbs("a message that is changed goes unnoticed")
def _take_back(call: Any, message: object, handed: Handed) -> None:
    queue_of_writes(call).waiting.pop(handed, None)


def _watched(queue: Any) -> Watched | None:
    # In place: a task of grpcio may wait at the queue, and it may have messages.
    if type(queue) is asyncio.Queue:
        plain: Any = queue
        plain.__class__ = Watched
        plain.waiting, plain.last, plain.is_looked_at = {}, None, True
    return queue if isinstance(queue, Watched) else None


def _writer(frame: FrameType) -> Origin | Owner:
    """Return the party in the write() at `frame`: from its note if there is one, which is cheap."""
    note = note_origin("write", 5)
    return this_party(frame, "write", is_task=True) if note.place is None else note


@never_disturbs("a message that was changed goes unnoticed")
def _look(kind: type[ChangedInQueue | ChangedAtOnce], handed: Handed, message: object) -> None:
    assert handed.contents is not None
    if not has_changed(message, handed.contents):
        return
    if any(excuse(handed) for excuse in NOT_SENT):
        return
    writer = handed.writer
    caller = writer if isinstance(writer, Owner) else writer.owner()
    warn(kind(type(message).__name__), handed.stream.subject, caller=caller)
