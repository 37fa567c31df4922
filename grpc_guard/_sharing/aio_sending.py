"""Sending on one stream from many tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
from types import TracebackType
from typing import Generic, Self, TypeAlias, TypeVar

from .._catalogue.forks import start_clean
from .._catalogue.lazy import public
from .._catalogue.messages import own
from . import core
from .core import FORKED, NOTHING, Buffer, End, StreamEnded, Waiter, WhenFull
from .endings import watch_asker, watch_async

T = TypeVar("T")


@functools.partial(public, module="grpc_guard.aio")
class Sender(Generic[T]):
    """The async iterator that gRPC asks for messages, and that any number of tasks send to.

    As :class:`grpc_guard.Sender`, for ``grpc.aio``. On a client it is the stub's request iterator:
    ``call = stub.RouteChat(sender)``. A handler makes one with its context, ``sender =
    Sender(context)``, and yields from it: ``async for message in sender: yield message``.

    Made in a running loop, to which it belongs; other threads use send_from_thread(). Under
    ``when_full="fail"``, what is raised is asyncio.QueueFull.

    Raises ValueError for an invalid setting, TypeError if `rpc` is neither a call nor a
    context, RuntimeError if no loop runs.
    """

    Statistics: TypeAlias = core.Statistics

    def __init__(
        self, rpc: object | None = None, *, maxsize: int = 16, when_full: WhenFull = "wait"
    ) -> None:
        self._buffer: Buffer[T] = Buffer(maxsize, when_full, asyncio.QueueFull)
        self._loop = asyncio.get_running_loop()
        self._has_looked = False
        start_clean(self)
        if rpc is not None:
            self.attach(rpc)

    def attach(self, rpc: object) -> None:
        """Tell the sender its RPC: `rpc` is a call of grpc.aio or the context of a handler.

        Not needed for a client whose requests are read by grpcio itself: then the sender finds
        out. Needed if they are never read: the call is cancelled before its first step, or an
        interceptor refuses it.
        """
        self._has_looked = True
        watch_async(rpc, self._finish)

    async def send(self, message: T, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Queue `message` to be sent; if there is no room, wait for at most `timeout` seconds.

        Raises TimeoutError if there was no room in time, asyncio.QueueFull under ``"fail"``,
        StreamEnded if the RPC is over or the sender closed; the message will then never be
        sent. A task that is cancelled here sends nothing either, unless gRPC has taken the
        message at that moment.
        """
        message = own(message)
        if not self._buffer.offer(message):
            await self._wait_for_room(message, timeout)

    async def _wait_for_room(self, message: T, timeout: float | None) -> None:  # noqa: ASYNC109
        waiter = future_waiter(self._loop, message)
        self._buffer.senders.append(waiter)
        try:
            await wait_for(waiter, timeout, "no room for a message")
            if not waiter.is_settled:
                raise self._buffer.ended()
        except BaseException:
            self._buffer.withdraw(waiter)
            raise

    def send_from_thread(self, message: T, timeout: float | None = None) -> None:
        """Do send() from another thread, which is blocked until the message is accepted.

        The loop measures `timeout`: while the loop is blocked, this does not return. Raises as
        send(), and RuntimeError in the loop's own thread.
        """
        if asyncio._get_running_loop() is self._loop:
            raise RuntimeError("send_from_thread() would block the loop it waits for: await send()")
        sending = self.send(own(message), timeout)
        try:
            sent = asyncio.run_coroutine_threadsafe(sending, self._loop)
        except RuntimeError:
            sending.close()
            raise StreamEnded(None, "the event loop is closed") from None
        try:
            sent.result()
        except concurrent.futures.CancelledError:
            raise StreamEnded(None, "the event loop is closing") from None

    async def flush(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait until gRPC has written all messages that were accepted so far.

        gRPC does not report whether the peer has received them. Raises TimeoutError after
        `timeout` seconds, and StreamEnded if the RPC ended before.
        """
        buffer = self._buffer
        if buffer.has_flushed():
            return
        if buffer.end is not None:
            raise buffer.ended()
        waiter = future_waiter(self._loop)
        entry = (buffer.accepted, waiter)
        buffer.flushers.append(entry)
        try:
            await wait_for(waiter, timeout, "not all was written")
        finally:
            if entry in buffer.flushers:
                buffer.flushers.remove(entry)
        if not waiter.is_settled:
            raise buffer.ended()

    def close(self) -> None:
        """Accept no more messages, and half-close after those that were accepted. Idempotent.

        It may be called in any thread, in a callback or a finaliser too. Callers that wait for
        room get StreamEnded.
        """
        if asyncio._get_running_loop() is self._loop:
            self._buffer.close()
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: no task waits
                self._loop.call_soon_threadsafe(self._buffer.close)

    def unsent(self) -> list[T]:
        """Return the messages that were accepted and not taken by gRPC, for example to send them again.

        Only the peer knows which of the messages that gRPC took have arrived.
        """
        return list(self._buffer.items)

    def statistics(self) -> core.Statistics:
        """Return how many messages were accepted, taken, dropped, and wait now."""
        return self._buffer.statistics()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # What gRPC does

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._has_looked:
            self._has_looked = True
            watch_asker(self._finish)
        buffer = self._buffer
        if buffer.flushers:
            buffer.confirm()
        if buffer.end is not None:
            raise StopAsyncIteration
        message = buffer.take()
        if message is not NOTHING:
            return message  # type: ignore[return-value]
        if buffer.refusal is None:
            waiter = future_waiter(self._loop)
            buffer.takers.append(waiter)
            try:
                await waiter.wait
            except BaseException:
                buffer.give_back(waiter)
                raise
            if waiter.is_settled:
                return waiter.message  # type: ignore[no-any-return]
        buffer.is_flushed = True
        raise StopAsyncIteration

    # How it ends

    def _finish(self, end: End) -> None:
        self._buffer.finish(end)

    def after_fork(self) -> None:
        """The RPC belongs to the parent, and so do the waiting tasks."""
        for waiters in (self._buffer.senders, self._buffer.takers, self._buffer.flushers):
            waiters.clear()
        self._buffer.finish(FORKED)


def future_waiter(loop: asyncio.AbstractEventLoop, message: object = NOTHING) -> Waiter:
    """Return a waiter for a task: waking it lets the waiting task continue."""
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done() and not loop.is_closed():
            future.set_result(None)

    return Waiter(wake, future, message)


async def wait_for(waiter: Waiter, timeout: float | None, complaint: str) -> None:  # noqa: ASYNC109
    """Wait until `waiter` is woken. Raises TimeoutError if that takes too long."""
    if timeout is None:
        await waiter.wait
        return
    try:
        async with asyncio.timeout(timeout):
            await waiter.wait
    except TimeoutError:
        if not waiter.is_settled:
            raise TimeoutError(f"{complaint} within {timeout:g} s") from None
