"""The queue between many parties and one stream: order, bounds, policies, end.

It has neither locks nor loops: a shell calls it under its mutex (sync) or on its loop (aio), and
waits when the core says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

import grpc

from .._catalogue.lazy import public

T = TypeVar("T")

WhenFull = Literal["wait", "drop_oldest", "fail"]


@public
class StreamEnded(Exception):  # noqa: N818  # not always an error: it ends the loop of a producer
    """The stream accepts no more messages, or has none left; the call that raises it did nothing.

    `code` and `details` are those of the RPC. `code` is None if the RPC is not over, or its code
    is not known: then `details` says what was closed. `left` is the number of messages that a
    Sender had accepted and gRPC had not taken when the RPC ended; 0 elsewhere. If an exception
    ended the stream, it is the ``__cause__``.
    """

    def __init__(self, code: grpc.StatusCode | None, details: str | None, left: int = 0) -> None:
        super().__init__(code, details, left)
        self.code = code
        self.details = details
        self.left = left

    def __str__(self) -> str:
        end = "no more messages" if self.code is None else f"the RPC is over: {self.code.name}"
        details = f" ({self.details})" if self.details else ""
        left = f"; {self.left} accepted, not sent" if self.left else ""
        return f"{end}{details}{left}"


class End(NamedTuple):
    """How a stream ended: what StreamEnded tells."""

    code: grpc.StatusCode | None
    details: str | None
    cause: BaseException | None = None
    is_normal: bool = False  # for code that iterates over the stream


CLOSED = End(None, "close() was called", is_normal=True)
FORKED = End(None, "the RPC belongs to the process that forked this one")


class Statistics(NamedTuple):
    """Counts of a sender's messages: ``accepted == taken + dropped + queued``."""

    accepted: int  # by send()
    taken: int  # by gRPC
    dropped: int  # to make room, under when_full="drop_oldest"
    queued: int  # now
    waiting: int  # calls of send() that wait for room now


class Nothing:
    """What take() returns from an empty queue: None may be a message."""


NOTHING = Nothing()


class Waiter:
    """A thread or task that waits: for room for its message, or for a message.

    It is settled when it has got its room or its message. It is woken once. If it is not settled
    then, the stream has ended, or `error` is the reason.
    """

    __slots__ = ("error", "is_settled", "message", "wait", "wake")

    def __init__(self, wake: Callable[[], object], wait: Any, message: Any = NOTHING) -> None:
        self.wake = wake
        self.wait = wait  # the shell's own: how this waiter waits
        self.message = message
        self.is_settled = False
        self.error: BaseException | None = None


class Buffer(Generic[T]):
    """Messages in the order in which they were accepted, and the waiters for them or for room.

    Waiters are served first come, first served. While one waits for room, the queue is full; while
    one waits for a message, it is empty.
    """

    __slots__ = (
        "__weakref__",
        "accepted",
        "dropped",
        "end",
        "flushers",
        "full",
        "is_flushed",
        "items",
        "maxsize",
        "refusal",
        "senders",
        "takers",
        "when_full",
        "withdrawn",
    )

    def __init__(self, maxsize: int, when_full: str, full: type[Exception]) -> None:
        self.maxsize = checked_size(maxsize)
        self.when_full = checked_policy(when_full)
        self.full = full  # raised under the policy "fail"
        self.items: deque[T] = deque()
        self.senders: deque[Waiter] = deque()
        self.takers: deque[Waiter] = deque()
        self.flushers: deque[tuple[int, Waiter]] = deque()
        self.accepted = self.dropped = self.withdrawn = 0
        self.end: End | None = None  # that of the RPC
        self.refusal: End | None = None  # why no message is accepted: closed, or the end
        self.is_flushed = False  # no taker will come again: all was taken and finished

    # Putting in

    def offer(self, message: T) -> bool:
        """Accept `message`; False if it must wait for room. Raise if it never can be."""
        if self.refusal is not None:
            raise self.ended()
        if self.takers:
            self._hand_over(message)
        else:
            items = self.items
            if len(items) >= self.maxsize:
                if self.when_full == "wait":
                    return False
                if self.when_full == "fail":
                    raise self.full
                items.popleft()
                self.dropped += 1
            items.append(message)
        self.accepted += 1
        return True

    def withdraw(self, waiter: Waiter) -> None:
        """Remove the message of a sender that was interrupted, unless it has been taken."""
        if not waiter.is_settled:
            _discard(self.senders, waiter)
            return
        for index in range(len(self.items) - 1, -1, -1):
            if self.items[index] is waiter.message:
                del self.items[index]
                self.withdrawn += 1
                self._admit()
                return

    # Taking out

    def take(self) -> T | Nothing:
        """Return the oldest message, or NOTHING."""
        items = self.items
        if not items:
            return NOTHING
        message = items.popleft()
        if self.senders:
            self._admit()
        return message

    def _admit(self) -> None:
        while self.senders and len(self.items) < self.maxsize:
            waiter = self.senders.popleft()
            self.items.append(waiter.message)
            self.accepted += 1
            waiter.is_settled = True
            waiter.wake()

    def give_back(self, waiter: Waiter) -> None:
        """Give to the next taker the message that an interrupted one had got."""
        if not waiter.is_settled:
            _discard(self.takers, waiter)
        elif self.takers:
            self._hand_over(waiter.message)
        else:
            self.items.appendleft(waiter.message)

    def _hand_over(self, message: T) -> None:
        taker = self.takers.popleft()
        taker.message = message
        taker.is_settled = True
        taker.wake()

    # Waiting until all has been taken

    @property
    def passed(self) -> int:
        """How many messages have left the queue: messages are numbered as they are accepted."""
        return self.accepted - len(self.items)

    def confirm(self) -> None:
        """Note that the taker comes back: it has finished all messages that left the queue."""
        passed = self.passed
        while self.flushers and self.flushers[0][0] <= passed:
            _, waiter = self.flushers.popleft()
            waiter.is_settled = True
            waiter.wake()

    def has_flushed(self) -> bool:
        """Tell whether all accepted messages were taken, and the taker came back after the last."""
        if self.end is not None:
            return self.is_flushed
        return not self.items and (bool(self.takers) or not self.passed or self.is_flushed)

    # The end

    def close(self, reason: End = CLOSED) -> None:
        """Accept nothing more; what was accepted can still be taken."""
        if self.refusal is None:
            self.refusal = reason
            _wake_all(self.senders)
            _wake_all(self.takers)  # the queue is empty if a taker waits

    def finish(self, end: End) -> None:
        """Note the end of the RPC, and wake all waiters with it."""
        if self.end is None:
            self.is_flushed = self.has_flushed()
            self.end = self.refusal = end
            _wake_all(self.senders)
            _wake_all(self.takers)
            while self.flushers:
                self.flushers.popleft()[1].wake()

    def fail(self, error: BaseException) -> None:
        """Raise an error, which is not the end, in all waiters for a message."""
        while self.takers:
            taker = self.takers.popleft()
            taker.error = error
            taker.wake()

    def ended(self) -> StreamEnded:
        """Return the exception to raise, with its cause: a new one for each caller."""
        end = self.refusal or CLOSED
        error = StreamEnded(end.code, end.details, len(self.items) if self.end is not None else 0)
        error.__cause__ = end.cause
        return error

    def statistics(self) -> Statistics:
        """Return the counts."""
        accepted = self.accepted - self.withdrawn
        queued = len(self.items)
        taken = accepted - self.dropped - queued
        return Statistics(accepted, taken, self.dropped, queued, len(self.senders))


def checked_size(maxsize: int) -> int:
    """Return `maxsize`. Raises ValueError unless it is a number of messages, at least 1."""
    if not isinstance(maxsize, int) or isinstance(maxsize, bool) or maxsize < 1:
        raise ValueError(f"maxsize: {maxsize!r} is not a number of messages, 1 or more")
    return maxsize


def checked_policy(when_full: str) -> str:
    """Return `when_full`. Raises ValueError unless it is one of the policies."""
    if when_full not in get_args(WhenFull):
        raise ValueError(f"when_full: {when_full!r} is not one of wait, drop_oldest, fail")
    return when_full


def _discard(waiters: deque[Waiter], waiter: Waiter) -> None:
    if waiter in waiters:  # unless the end woke it
        waiters.remove(waiter)


def _wake_all(waiters: deque[Waiter]) -> None:
    while waiters:
        waiters.popleft().wake()
