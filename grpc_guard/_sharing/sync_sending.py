"""Sending on one stream from many threads."""

from __future__ import annotations

import queue
import threading
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeAlias, TypeVar

from .._catalogue.forks import start_clean
from .._catalogue.lazy import public
from .._catalogue.messages import own
from . import core
from .core import FORKED, NOTHING, Buffer, End, Waiter, WhenFull
from .endings import watch, watch_asker

T = TypeVar("T")


@public
class Sender(Generic[T]):
    """The iterator that gRPC asks for messages, and that any number of threads send to.

    On a client it is the stub's request iterator: ``call = stub.RouteChat(sender)``. A handler
    makes one with its context, ``sender = Sender(context)``, and returns it or yields from it.
    A sender serves one RPC.

    - Messages are sent in the order in which send() accepted them. send() copies a protobuf
      message; a message of another kind must not be changed afterwards.
    - At most `maxsize` messages wait for gRPC, which takes one after it has written the one before.
      If there is no room, ``when_full`` decides: ``"wait"``; ``"drop_oldest"``, so that the oldest
      message is never sent; or ``"fail"``, which raises queue.Full.
    - close() half-closes after all accepted messages; leaving a ``with`` block closes.
    - When the RPC ends, every waiting caller gets StreamEnded at once, and gRPC's thread leaves.

    To end a client's RPC early, cancel the call. A sender that the program has dropped is not
    closed: gRPC keeps it as long as its RPC lives. In a forked child it has ended.

    Raises ValueError for an invalid setting, TypeError if `rpc` is neither a call nor a
    context.
    """

    Statistics: TypeAlias = core.Statistics

    def __init__(
        self, rpc: object | None = None, *, maxsize: int = 16, when_full: WhenFull = "wait"
    ) -> None:
        self._buffer: Buffer[T] = Buffer(maxsize, when_full, queue.Full)
        self._mutex = threading.RLock()  # reentrant: a finaliser or a signal handler may close
        self._has_looked = False
        start_clean(self)
        if rpc is not None:
            self.attach(rpc)

    def attach(self, rpc: object) -> None:
        """Tell the sender its RPC: `rpc` is a call of grpc or the context of a handler.

        Not needed for a client whose requests are read by grpcio itself: then the sender finds
        out. Needed if an interceptor reads the requests in its own thread, or refuses the RPC
        before they are read.
        """
        self._has_looked = True
        watch(rpc, self._finish)

    def send(self, message: T, timeout: float | None = None) -> None:
        """Queue `message` to be sent; if there is no room, wait for at most `timeout` seconds.

        Raises TimeoutError if there was no room in time, queue.Full under ``"fail"``,
        StreamEnded if the RPC is over or the sender closed; the message will then never be
        sent. If another exception (of a signal handler) ends the wait, it is not sent either,
        unless gRPC has taken it at that moment.
        """
        message = own(message)
        with self._mutex:  # for the queue, never while waiting
            if self._buffer.offer(message):
                return
        self._wait_for_room(message, timeout)

    def _wait_for_room(self, message: T, timeout: float | None) -> None:
        waiter = lock_waiter(message)
        try:
            with self._mutex:
                if self._buffer.offer(message):
                    return
                self._buffer.senders.append(waiter)
            waiter.wait(timeout)
            with self._mutex:
                if not waiter.is_settled:
                    self._give_up("room for a message", timeout)
        except BaseException:
            with self._mutex:
                self._buffer.withdraw(waiter)
            raise

    def _give_up(self, what: str, timeout: float | None) -> NoReturn:
        if self._buffer.refusal is not None:
            raise self._buffer.ended()
        raise TimeoutError(f"no {what} within {timeout:g} s")

    def flush(self, timeout: float | None = None) -> None:
        """Wait until gRPC has written all messages that were accepted so far.

        gRPC does not report whether the peer has received them. Raises TimeoutError after
        `timeout` seconds, and StreamEnded if the RPC ended before.
        """
        buffer = self._buffer
        waiter = lock_waiter()
        with self._mutex:
            if buffer.has_flushed():
                return
            if buffer.end is not None:
                raise buffer.ended()
            entry = (buffer.accepted, waiter)
            buffer.flushers.append(entry)
        try:
            waiter.wait(timeout)
        finally:
            with self._mutex:
                if entry in buffer.flushers:
                    buffer.flushers.remove(entry)
        if not waiter.is_settled:
            if buffer.end is not None:
                raise buffer.ended()
            raise TimeoutError(f"not all was written within {timeout:g} s")

    def close(self) -> None:
        """Accept no more messages, and half-close after those that were accepted. Idempotent.

        Any thread may call it, in a finaliser or a signal handler too. Callers that wait for room
        get StreamEnded.
        """
        with self._mutex:
            self._buffer.close()

    def unsent(self) -> list[T]:
        """Return the messages that were accepted and not taken by gRPC, for example to send them again.

        Only the peer knows which of the messages that gRPC took have arrived.
        """
        with self._mutex:
            return list(self._buffer.items)

    def statistics(self) -> core.Statistics:
        """Return how many messages were accepted, taken, dropped, and wait now."""
        with self._mutex:
            return self._buffer.statistics()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # What gRPC does

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if not self._has_looked:
            self._has_looked = True
            watch_asker(self._finish)
        buffer = self._buffer
        with self._mutex:
            if buffer.flushers:
                buffer.confirm()
            if buffer.end is not None:
                raise StopIteration
            message = buffer.take()
            if message is not NOTHING:
                return message  # type: ignore[return-value]
            if buffer.refusal is not None:
                buffer.is_flushed = True
                raise StopIteration
            waiter = lock_waiter()
            buffer.takers.append(waiter)
        return self._wait_for_message(waiter)

    def _wait_for_message(self, waiter: Waiter) -> T:
        try:
            waiter.wait(None)
        except BaseException:  # the program itself takes messages, and was interrupted
            with self._mutex:
                self._buffer.give_back(waiter)
            raise
        if waiter.is_settled:
            return waiter.message  # type: ignore[no-any-return]
        self._buffer.is_flushed = True
        raise StopIteration

    # How it ends

    def _finish(self, end: End) -> None:
        with self._mutex:
            self._buffer.finish(end)

    def after_fork(self) -> None:
        """The RPC belongs to the parent."""
        self._mutex = threading.RLock()
        self._buffer.finish(FORKED)


def lock_waiter(message: object = NOTHING) -> Waiter:
    """Return a waiter for a thread: waking it lets the waiting thread continue."""
    lock = threading.Lock()
    lock.acquire()

    def wait(timeout: float | None) -> bool:
        if timeout is None:
            return lock.acquire()
        return lock.acquire(timeout=min(max(timeout, 0), threading.TIMEOUT_MAX))

    return Waiter(lock.release, wait, message)
