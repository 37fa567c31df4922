"""A lease of a shared channel for tasks, and the multi-callables it hands out."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from .._catalogue.boundary import asked, attribute_of
from .._catalogue.modes import Mode
from .._findings.origins import note_party
from .._proxies.aio.channel import (
    start_stream_stream,
    start_stream_unary,
    start_unary_stream,
    start_unary_unary,
)
from .._proxies.proxy import GuardedByItself
from .endings import refused, story
from .leases import Connection, LeaseEnded, LeaseRecord, Pool, Rpc, Start
from .multicallables import MultiCallable
from .parties import this_task

_CLOSED = "Channel is closed."  # grpcio's own words


class _AioMultiCallable(MultiCallable):
    def _follow(self, rpc: Rpc, call: Any) -> None:
        rpc.hold(call)
        _tell_the_end(rpc, call)


def _tell_the_end(rpc: Rpc, call: Any) -> None:
    """Have the end of `call` noted by the object below it, without a reference to the call.

    The public add_done_callback() would hold the call in a cycle, and a dropped call would be
    cancelled by the next garbage collection only.
    """
    interceptors = attribute_of(call, "_interceptors_task")
    if interceptors is not None:
        interceptors.add_done_callback(lambda task: _tell_the_end_of_task(rpc, task))
        return
    while (inner := attribute_of(call, "_call")) is not None:
        call = inner
    cython_call = attribute_of(call, "_cython_call")
    if cython_call is not None:
        cython_call.add_done_callback(rpc.end)
    else:  # an interceptor's own call class
        asked(call, "add_done_callback", rpc.end)


def _tell_the_end_of_task(rpc: Rpc, task: asyncio.Task[Any]) -> None:
    if task.cancelled() or task.exception() is not None or asked(task.result(), "done"):
        rpc.end()
    else:
        _tell_the_end(rpc, task.result())


class UnaryUnary(_AioMultiCallable, grpc.aio.UnaryUnaryMultiCallable):
    """See grpc.aio.UnaryUnaryMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("__call__", start_unary_unary, args, kwargs)


class UnaryStream(_AioMultiCallable, grpc.aio.UnaryStreamMultiCallable):
    """See grpc.aio.UnaryStreamMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("__call__", start_unary_stream, args, kwargs)


class StreamUnary(_AioMultiCallable, grpc.aio.StreamUnaryMultiCallable):
    """See grpc.aio.StreamUnaryMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("__call__", start_stream_unary, args, kwargs)


class StreamStream(_AioMultiCallable, grpc.aio.StreamStreamMultiCallable):
    """See grpc.aio.StreamStreamMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("__call__", start_stream_stream, args, kwargs)


class Lease(GuardedByItself, grpc.aio.Channel):
    """A share in a channel: a guarded grpc.aio.Channel whose close() ends this share only.

    May be used by any number of tasks of its loop. Once closed, it raises UsageError where a
    closed channel of grpcio does.
    """

    def __init__(self, lease: LeaseRecord, mode: Mode, loop: asyncio.AbstractEventLoop) -> None:
        self._record = lease
        self._mode = mode
        self._loop = loop
        lease.follow(self)

    def __repr__(self) -> str:
        lease = self._record
        return f"<lease of {lease.entry.settings.target!r}, taken {lease.origin}>"

    def _begin(self, method: str, is_stream: bool) -> Start:
        lease = self._record
        is_at_home = asyncio._get_running_loop() is self._loop  # elsewhere no channel can be made
        try:
            return lease.pool.begin(lease, is_stream, this_task(), may_grow=is_at_home)
        except LeaseEnded:
            pass
        raise grpc.aio.UsageError(f"{_CLOSED} {refused(lease, method, 'aio')}")

    def _channel(self) -> Any:
        connections = self._record.entry.connections
        if self._record.ending is not None or not connections:
            raise grpc.aio.UsageError(f"{_CLOSED} {story(self._record)}")
        return connections[0].channel

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> UnaryUnary:
        """See grpc.aio.Channel.unary_unary."""
        return UnaryUnary(self, "unary_unary", method, args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> UnaryStream:
        """See grpc.aio.Channel.unary_stream."""
        return UnaryStream(self, "unary_stream", method, args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> StreamUnary:
        """See grpc.aio.Channel.stream_unary."""
        return StreamUnary(self, "stream_unary", method, args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> StreamStream:
        """See grpc.aio.Channel.stream_stream."""
        return StreamStream(self, "stream_stream", method, args, kwargs)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel.get_state; that of the first connection."""
        if self._record.ending is not None:
            return grpc.ChannelConnectivity.SHUTDOWN
        state: grpc.ChannelConnectivity = self._channel().get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel.wait_for_state_change."""
        await self._channel().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel.channel_ready."""
        await self._channel().channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """End this lease: RPCs that were started through it may continue for `grace` seconds.

        Then they are cancelled; with None at once. Other leases are not affected. The channel
        closes with its last lease, or when it has been idle for the time of the registry.
        Idempotent. It does not wait for a loop that is blocked: the rest of the work is done when
        that loop runs again.
        """
        lease = self._record
        if not lease.pool.close(lease, note_party("close")):
            return
        try:
            if self._loop.is_running():
                await on_loop(self._leave(grace), self._loop)
            else:  # when it runs again, if ever
                soon(self._loop, lease.cancel_rpcs)
                lease.pool.leave(lease, later=True)
                lease.forget()
        except BaseException:
            lease.pool.wake()
            raise

    async def _leave(self, grace: float | None) -> None:
        lease = self._record
        try:
            if grace:
                await await_rpcs([lease], grace)
        finally:
            lease.cancel_rpcs()
            await close_all(lease.pool, lease.pool.leave(lease))
            lease.forget()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


def soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call `callback` on `loop` soon, unless that is closed; from any thread, without a lock."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        pass


async def await_rpcs(leases: Sequence[LeaseRecord], seconds: float) -> None:
    """Wait until no RPC of these leases lives, but at most this long."""
    loop = asyncio.get_running_loop()
    over = [asyncio.Event() for _ in leases]
    waiting = [
        asyncio.ensure_future(event.wait())
        for lease, event in zip(leases, over, strict=True)
        if lease.watch(functools.partial(soon, loop, event.set))
    ]
    if waiting:
        try:
            await asyncio.wait(waiting, timeout=seconds)
        finally:
            for waiter in waiting:
                waiter.cancel()


async def close_all(pool: Pool, connections: Iterable[Connection]) -> None:
    """Close channels of the running loop that the `pool` no longer gives out."""
    for connection in connections:
        connection.is_closed = True
        try:
            await connection.channel.close()
            pool.closed_one(connection)
        except BaseException:
            connection.is_closed = False  # to be closed again later
            raise


async def on_loop(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    """Do `work` on `loop`, which may differ from the running one."""
    if asyncio.get_running_loop() is loop:
        await work
        return
    done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    try:
        await asyncio.wait([done])
    finally:
        done.cancel()
    if not done.cancelled():  # else by the end of that loop: the task here was not cancelled
        done.result()
