"""A lease of a shared channel for threads, and the multi-callables it hands out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Self

import grpc

from .._catalogue.boundary import asked
from .._catalogue.modes import Mode
from .._findings.origins import note_origin
from .._findings.stacks import outward
from .._findings.whose import is_of_grpc
from .._proxies.once import unguarded
from .._proxies.proxy import GuardedByItself
from .._proxies.sync.channel import (
    run_stream_unary,
    start_stream_stream,
    start_stream_unary,
    start_unary_stream,
)
from .endings import refused, story
from .leases import Connection, LeaseEnded, LeaseRecord, Pool, Rpc, Start
from .multicallables import MultiCallable
from .parties import this_thread

_CLOSED = "Cannot invoke RPC on closed channel!"  # grpcio's own words


class _SyncMultiCallable(MultiCallable):
    def _follow(self, rpc: Rpc, call: Any) -> None:
        """Note the end by add_callback(), which, unlike add_done_callback(), keeps no call."""
        rpc.hold(call)
        if asked(call, "add_callback", rpc.end) is False:
            rpc.end()

    def _run(self, name: str, guard: Callable[..., Any] | None, args: Any, kwargs: Any) -> Any:
        """Run a blocking RPC to its end."""
        start = self._begin()
        rpc, mode = start.rpc, self._lease._mode
        try:
            multi_callable = self._on(rpc.connection)
            if guard is None or mode is Mode.OFF:
                return getattr(multi_callable, name)(*args, **kwargs)
            run = unguarded(multi_callable, name, self._method)
            return guard(multi_callable, run, self._method, mode, *args, **kwargs)
        finally:
            rpc.end()


def _as_it_is(
    multi_callable: Any,
    start: Callable[..., Any],
    rpc: str,
    mode: Mode,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    return start(*args, **kwargs)


class UnaryUnary(_SyncMultiCallable, grpc.UnaryUnaryMultiCallable):
    """See grpc.UnaryUnaryMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("__call__", None, args, kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("with_call", None, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("future", _as_it_is, args, kwargs)


class UnaryStream(_SyncMultiCallable, grpc.UnaryStreamMultiCallable):
    """See grpc.UnaryStreamMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("__call__", start_unary_stream, args, kwargs)


class StreamUnary(_SyncMultiCallable, grpc.StreamUnaryMultiCallable):
    """See grpc.StreamUnaryMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("__call__", run_stream_unary, args, kwargs)

    def with_call(self, *args: Any, **kwargs: Any) -> Any:
        return self._run("with_call", run_stream_unary, args, kwargs)

    def future(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("future", start_stream_unary, args, kwargs)


class StreamStream(_SyncMultiCallable, grpc.StreamStreamMultiCallable):
    """See grpc.StreamStreamMultiCallable."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._start("__call__", start_stream_stream, args, kwargs)


class Lease(GuardedByItself, grpc.Channel):
    """A share in a channel: a guarded grpc.Channel whose close() ends this share only.

    May be used by any number of threads. Once closed, it raises ValueError where a closed
    channel of grpcio does.
    """

    def __init__(self, lease: LeaseRecord, mode: Mode) -> None:
        self._record = lease
        self._mode = mode
        lease.follow(self)

    def __repr__(self) -> str:
        lease = self._record
        return f"<lease of {lease.entry.settings.target!r}, taken {lease.origin}>"

    def _begin(self, method: str, is_stream: bool) -> Start:
        lease = self._record
        try:
            return lease.pool.begin(lease, is_stream, this_thread())
        except LeaseEnded:
            pass
        raise ValueError(f"{_CLOSED} {refused(lease, method, 'sync')}")

    def _channel(self) -> Any:
        connections = self._record.entry.connections
        if self._record.ending is not None or not connections:
            raise ValueError(f"Channel closed! {story(self._record)}")
        return connections[0].channel

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> UnaryUnary:
        """See grpc.Channel.unary_unary."""
        return UnaryUnary(self, "unary_unary", method, args, kwargs)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> UnaryStream:
        """See grpc.Channel.unary_stream."""
        return UnaryStream(self, "unary_stream", method, args, kwargs)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> StreamUnary:
        """See grpc.Channel.stream_unary."""
        return StreamUnary(self, "stream_unary", method, args, kwargs)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> StreamStream:
        """See grpc.Channel.stream_stream."""
        return StreamStream(self, "stream_stream", method, args, kwargs)

    def subscribe(self, callback: Callable[[Any], object], try_to_connect: bool = False) -> None:
        """See grpc.Channel.subscribe; ends with the lease. Reports the first connection."""
        channel, lease = self._channel(), self._record
        lease.subscribed.append(callback)
        channel.subscribe(callback, try_to_connect)
        if lease.ending is not None:  # closed meanwhile: that close() may have come too early
            channel.unsubscribe(callback)

    def unsubscribe(self, callback: Callable[[Any], object]) -> None:
        """See grpc.Channel.unsubscribe."""
        subscribed = self._record.subscribed
        if callback in subscribed:
            subscribed.remove(callback)
            self._channel().unsubscribe(callback)

    def close(self) -> None:
        """End this lease, and cancel the streams and futures that were started through it.

        Other leases are not affected. The channel closes with its last lease, or when it has been
        idle for the time of the registry. Idempotent.
        """
        lease, pool = self._record, self._record.pool
        try:
            if pool.close(lease, note_origin("close")):
                unsubscribe_all(lease)
                lease.cancel_rpcs()
                later = pool.is_entered or _serves_a_channel(sys._getframe())
                close_all(pool, pool.leave(lease, later=later))
                lease.forget()
        except BaseException:
            pool.wake()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _serves_a_channel(frame: FrameType) -> bool:
    """Tell whether `frame` is in a callback on the thread that serves a channel's calls.

    Closing a channel waits for that thread: grpcio's own channel hangs if it is closed there.
    """
    return any(
        outer.f_code.co_name == "channel_spin" and is_of_grpc(outer) for outer in outward(frame)
    )


def unsubscribe_all(lease: LeaseRecord) -> None:
    """Unsubscribe the callbacks of a lease that has ended."""
    for connection in lease.entry.connections[:1]:
        for callback in tuple(lease.subscribed):
            connection.channel.unsubscribe(callback)
    lease.subscribed = []


def close_all(pool: Pool, connections: Iterable[Connection]) -> None:
    """Close channels that the `pool` no longer gives out."""
    for connection in connections:
        connection.is_closed = True
        try:
            connection.channel.close()
            pool.closed_one(connection)
        except BaseException:
            connection.is_closed = False  # to be closed again later
            raise
