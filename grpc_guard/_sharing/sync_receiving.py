"""Receiving from one stream in many threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from .._catalogue.forks import start_clean
from .._catalogue.lazy import public
from .._findings.errors import ConcurrencyError
from .core import NOTHING, Buffer, StreamEnded, Waiter, WhenFull
from .endings import end_of_messages
from .outlets import Outlets
from .sync_sending import lock_waiter

T = TypeVar("T")

_IDLE = 0.05  # seconds that the reading thread stays while no receiver wants a message


class _Reader(Generic[T]):
    """Reads a stream in a separate thread, a message at a time, while one is wanted.

    The thread knows the reader but no receiver. It ends at the end of the stream, and when no
    message was wanted for a moment.
    """

    def __init__(self, messages: Iterable[T], outlets: Outlets[T]) -> None:
        self._messages: Iterator[T] = iter(messages)
        self.outlets = outlets
        self._clear()
        start_clean(self)

    def _clear(self) -> None:
        self.mutex = threading.RLock()  # for the outlets, never held while reading or waiting
        self._is_reading = False
        self._has_thread = False
        self._bell = threading.Lock()
        self._bell.acquire()

    def ask(self) -> None:
        """Start to read the next message, if it is wanted and not being read; under the mutex."""
        if self._is_reading or not self.outlets.wants():
            return
        self._is_reading = True
        if self._has_thread:
            self._bell.release()
            return
        thread = threading.Thread(target=self._run, name="grpc_guard-receiver", daemon=True)
        try:
            thread.start()
        except BaseException:  # no more threads, or the interpreter shuts down
            self._is_reading = False
            raise
        self._has_thread = True

    def _run(self) -> None:
        while self._read() or self._is_wanted_again():
            pass

    def _read(self) -> bool:
        """Read one message; tell whether to read another at once. A later ask() rings the bell."""
        goes_on = False
        try:
            message = next(self._messages)
        except ConcurrencyError as error:  # other code reads the stream: not its end
            with self.mutex:
                self.outlets.fail(error)
                self._is_reading = False
        except BaseException as error:
            end = end_of_messages(self._messages, error)
            with self.mutex:
                self._messages = iter(())  # drops the call
                self._is_reading = False
                self.outlets.finish(end)
        else:
            with self.mutex:
                self.outlets.deliver(message)
                self._is_reading = goes_on = self.outlets.wants()
        return goes_on

    def _is_wanted_again(self) -> bool:
        if not self.outlets.is_over and self._bell.acquire(timeout=_IDLE):
            return True
        with self.mutex:
            if self._is_reading:  # a receiver has just asked for one
                return self._bell.acquire()
            self._has_thread = False
            return False

    def after_fork(self) -> None:
        """The thread stayed in the parent, and so did the RPC."""
        self._clear()
        self.outlets.forked()


@public
class Receiver(Generic[T]):
    """The messages of one stream, for any number of threads: each message goes to one of them.

    `messages` is a client's call, the request iterator of a handler, or any iterable. A separate
    thread reads it, and only while a thread waits in receive(). So at most one message is read
    ahead, for a receive() that timed out. The reading thread ends at the end of the stream, or
    when no receive() has waited for 50 ms.

    Iterating stops at the normal end of the stream, and raises StreamEnded at any other.

    No other code may read the stream. A read that has begun keeps the call until a message or the
    end comes: to give up, cancel the call. In a forked child the stream has ended.

    Raises TypeError if `messages` cannot be iterated over.
    """

    def __init__(self, messages: Iterable[T]) -> None:
        self._buffer: Buffer[T] = Buffer(1, "wait", queue.Full)
        self._reader: _Reader[T] = _Reader(messages, Outlets(is_on_demand=True))
        self._reader.outlets.add(self._buffer)

    def receive(self, timeout: float | None = None) -> T:
        """Return the next message; wait for it for at most `timeout` seconds.

        Raises TimeoutError if none came in time: the RPC continues, and the next receive() gets
        the message that comes later. The same holds if another exception (of a signal handler)
        ends the wait. Raises StreamEnded at the end: with code OK at the normal end on a client,
        None after a client has half-closed.
        """
        waiter = lock_waiter()
        try:
            with self._reader.mutex:
                message = self._buffer.take()
                if message is not NOTHING:
                    self._reader.ask()  # there may be room for another message
                    return message  # type: ignore[return-value]
                if self._buffer.refusal is not None:
                    raise self._buffer.ended()
                self._buffer.takers.append(waiter)
                self._reader.ask()
            waiter.wait(timeout)
            with self._reader.mutex:
                return self._outcome(waiter, timeout)
        except BaseException:
            with self._reader.mutex:
                self._reader.outlets.give_back(self._buffer, waiter)
                self._reader.ask()
            raise

    def _outcome(self, waiter: Waiter, timeout: float | None) -> T:
        if waiter.is_settled:
            self._reader.outlets.received(waiter)
            self._reader.ask()  # others may wait for the next message
            return waiter.message  # type: ignore[no-any-return]
        if waiter.error is not None:
            raise waiter.error
        if self._buffer.refusal is not None:
            raise self._buffer.ended()
        raise TimeoutError(f"no message within {timeout:g} s")

    def close(self) -> None:
        """Receive no more: every receive(), waiting or later, raises StreamEnded. Idempotent.

        The RPC continues: to end it, cancel the call.
        """
        with self._reader.mutex:
            self._reader.outlets.remove(self._buffer)
            self._reader.ask()  # the other subscribers of a FanOut may have waited for this one

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.receive()
        except StreamEnded:
            end = self._buffer.refusal
            if end is not None and end.is_normal:
                raise StopIteration from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Subscription(Receiver[T]):
    """What one subscriber of a FanOut receives."""

    def __init__(self, reader: _Reader[T], buffer: Buffer[T]) -> None:
        self._reader = reader
        self._buffer = buffer


@public
class FanOut(Generic[T]):
    """The messages of one stream, each for every subscriber, in threads.

    `messages` is a client's call, the request iterator of a handler, or any iterable. A separate
    thread reads it, beginning with the first receive() of a subscriber, while there are
    subscribers. No other code may read it.

    Raises TypeError if `messages` cannot be iterated over.
    """

    def __init__(self, messages: Iterable[T]) -> None:
        self._reader: _Reader[T] = _Reader(messages, Outlets(is_on_demand=False))

    def subscribe(self, *, maxsize: int = 16, when_full: WhenFull = "wait") -> Receiver[T]:
        """Return a receiver of every message that is read from now on.

        Up to `maxsize` messages wait for the subscriber. If there are more, `when_full` decides:
        with ``"wait"`` the other subscribers wait, ``"drop_oldest"`` drops its oldest message,
        ``"fail"`` closes it: it gets the messages in its queue, and then StreamEnded, from
        queue.Full. All subscribers get the same object: do not change it.

        Close it, or use it in a ``with`` block: until then it counts as a subscriber.
        """
        buffer: Buffer[T] = Buffer(maxsize, when_full, queue.Full)
        with self._reader.mutex:
            self._reader.outlets.add(buffer)
            self._reader.ask()
        return _Subscription(self._reader, buffer)
