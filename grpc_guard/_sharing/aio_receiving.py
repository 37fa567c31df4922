"""Receiving from one stream in many tasks."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterable
from types import TracebackType
from typing import Generic, Self, TypeVar

import grpc

from .._catalogue.forks import start_clean
from .._catalogue.lazy import public
from .._findings.errors import ConcurrencyError
from .aio_sending import future_waiter, wait_for
from .core import NOTHING, Buffer, End, StreamEnded, WhenFull
from .endings import end_of_messages
from .outlets import Outlets

T = TypeVar("T")


class _Reader(Generic[T]):
    """Reads a stream in a separate task, a message at a time, while one is wanted.

    The task knows the reader but no receiver, and lives only while it reads.
    """

    def __init__(self, messages: AsyncIterable[T], outlets: Outlets[T]) -> None:
        self._source: object = messages
        self._messages = aiter(messages)
        self.outlets = outlets
        self.loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        start_clean(self)

    def ask(self) -> None:
        """Start to read the next message, if it is wanted and not being read."""
        if self._task is None and self.outlets.wants():
            self._task = self.loop.create_task(self._run(), name="grpc_guard-receiver")

    async def _run(self) -> None:
        try:
            while self.outlets.wants():
                self.outlets.deliver(await anext(self._messages))
        except ConcurrencyError as error:  # other code reads the stream: not its end
            self.outlets.fail(error)
        except asyncio.CancelledError as error:  # of the RPC, or of this task, when its loop ends
            cause = error.with_traceback(None)
            self._finish(End(grpc.StatusCode.CANCELLED, None, cause))
        except BaseException as error:
            self._finish(end_of_messages(self._source, error))
        finally:
            self._task = None

    def _finish(self, end: End) -> None:
        self._source = None  # drops the call
        del self._messages
        self.outlets.finish(end)

    def after_fork(self) -> None:
        """The RPC belongs to the parent, and so do the waiting tasks."""
        for buffer in self.outlets.buffers:
            buffer.takers.clear()
        self.outlets.forked()


@functools.partial(public, module="grpc_guard.aio")
class Receiver(Generic[T]):
    """The messages of one stream, for any number of tasks: each message goes to one of them.

    As :class:`grpc_guard.Receiver`, for ``grpc.aio``: `messages` is a client's call, the request
    iterator of a handler, or any async iterable. A separate task reads it, and only while a task
    waits in receive(). The waiting task may be cancelled, by ``asyncio.timeout()`` for instance:
    the read and the RPC continue, and nothing is lost.

    Raises TypeError if `messages` cannot be iterated over, RuntimeError if no loop runs.
    """

    def __init__(self, messages: AsyncIterable[T]) -> None:
        self._buffer: Buffer[T] = Buffer(1, "wait", asyncio.QueueFull)
        self._reader: _Reader[T] = _Reader(messages, Outlets(is_on_demand=True))
        self._reader.outlets.add(self._buffer)

    async def receive(self, timeout: float | None = None) -> T:  # noqa: ASYNC109
        """Return the next message; wait for it for at most `timeout` seconds.

        Raises TimeoutError if none came in time: the RPC continues, and the next receive() gets
        the message that comes later. The same holds if the task is cancelled. Raises
        StreamEnded at the end: with code OK at the normal end on a client, None after a client
        has half-closed.
        """
        buffer = self._buffer
        message = buffer.take()
        if message is not NOTHING:
            self._reader.ask()  # there may be room for another message
            return message  # type: ignore[return-value]
        if buffer.refusal is not None:
            raise buffer.ended()
        waiter = future_waiter(self._reader.loop)
        buffer.takers.append(waiter)
        try:
            self._reader.ask()
            await wait_for(waiter, timeout, "no message")
        except BaseException:
            self._reader.outlets.give_back(buffer, waiter)
            self._reader.ask()
            raise
        if waiter.is_settled:
            self._reader.outlets.received(waiter)
            self._reader.ask()  # others may wait for the next message
            return waiter.message  # type: ignore[no-any-return]
        raise waiter.error or buffer.ended()

    def close(self) -> None:
        """Receive no more: every receive(), waiting or later, raises StreamEnded. Idempotent.

        The RPC continues: to end it, cancel the call.
        """
        self._reader.outlets.remove(self._buffer)
        self._reader.ask()  # the other subscribers of a FanOut may have waited for this one

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except StreamEnded:
            end = self._buffer.refusal
            if end is not None and end.is_normal:
                raise StopAsyncIteration from None
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
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


@functools.partial(public, module="grpc_guard.aio")
class FanOut(Generic[T]):
    """The messages of one stream, each for every subscriber, in tasks.

    As :class:`grpc_guard.FanOut`, for ``grpc.aio``.

    Raises TypeError if `messages` cannot be iterated over, RuntimeError if no loop runs.
    """

    def __init__(self, messages: AsyncIterable[T]) -> None:
        self._reader: _Reader[T] = _Reader(messages, Outlets(is_on_demand=False))

    def subscribe(self, *, maxsize: int = 16, when_full: WhenFull = "wait") -> Receiver[T]:
        """Return a receiver of every message that is read from now on.

        Up to `maxsize` messages wait for the subscriber. If there are more, `when_full` decides:
        with ``"wait"`` the other subscribers wait, ``"drop_oldest"`` drops its oldest message,
        ``"fail"`` closes it: it gets the messages in its queue, and then StreamEnded, from
        asyncio.QueueFull. All subscribers get the same object: do not change it.

        Close it, or use it in an ``async with`` block: until then it counts as a subscriber.
        """
        buffer: Buffer[T] = Buffer(maxsize, when_full, asyncio.QueueFull)
        self._reader.outlets.add(buffer)
        self._reader.ask()
        return _Subscription(self._reader, buffer)
