"""The registry of channels for tasks: a pool for each event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Self

import grpc
import grpc.aio

from .._catalogue.forks import inherit, start_clean
from .._catalogue.lazy import public
from .._catalogue.modes import Mode, ModeName
from .._findings.origins import Origin, note_origin, note_party
from .aio_lease import Lease, await_rpcs, close_all, on_loop, soon
from .endings import lost, was_dropped
from .leases import Connection, LeaseRecord, LeaseState
from .pool import Pool
from .settings import Settings, settings
from .shares import Limits, Registry, checked_seconds


@functools.partial(public, module="grpc_guard.aio")
class ChannelRegistry(Registry):
    """Channels that are shared: equal arguments get one connection, for any number of tasks.

    As :class:`grpc_guard.ChannelRegistry`, for ``grpc.aio``: call ``get()`` and ``stub()``, which are
    not coroutines, in a running loop. Each loop has its own channels.

    ``get()`` returns a lease, which is a guarded ``grpc.aio.Channel`` whose ``close()`` ends
    that lease only. A channel closes when its last lease has ended and `idle_seconds` have
    passed (None: at once). `mode` and `max_streams` are as there.

    Raises ValueError for an invalid setting.
    """

    def __init__(
        self,
        *,
        mode: ModeName | Mode = "raise",
        max_streams: int | None = 100,
        idle_seconds: float | None = None,
    ) -> None:
        super().__init__(mode=mode, max_streams=max_streams, idle_seconds=idle_seconds)
        self._closed: Origin | None = None
        self._clear()
        start_clean(self)

    def _clear(self) -> None:
        self._loop_pools: dict[asyncio.AbstractEventLoop, LoopPool] = {}
        self._mutex = threading.RLock()  # guards the table of pools, never across their work

    def after_fork(self) -> None:
        """Start without loops: in the child, the one that forked looks as if it ran there."""
        inherit(self._loop_pools)
        self._clear()

    def get(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        compression: grpc.Compression | None = None,
        interceptors: Sequence[Any] = (),
    ) -> Lease:
        """Return a lease of this loop's channel to `target`; make the channel if it does not exist.

        Without `credentials` it is insecure. A channel is shared if all arguments are equal;
        credentials and interceptors are equal only if they are the same objects.

        Raises RuntimeError if the registry is closed or no event loop runs here, TypeError or
        ValueError for an invalid argument.
        """
        wanted = settings(target, credentials, options, compression, interceptors)
        return self._lease(self._pool(), wanted)

    async def close(self, grace: float | None = None) -> None:
        """End every lease and close every channel; get() raises RuntimeError from then on.

        RPCs in progress may continue for `grace` seconds, then they are cancelled; None: at once.
        No new RPC starts. Idempotent; get() may be called at the same time. Channels of other
        loops are closed on their loops; if such a loop is blocked, when it runs again.
        """
        seconds = checked_seconds(grace, "close(grace)")
        ending = note_party("close")
        with self._mutex:
            self._closed = self._closed or ending
            loop_pools = tuple(self._loop_pools.values())
        shut = [(loop_pool, *loop_pool.pool.shut(ending)) for loop_pool in loop_pools]
        self._stubs.clear()
        try:
            if seconds:
                await await_rpcs([lease for _, leases, _ in shut for lease in leases], seconds)
        finally:  # even if the caller was cancelled: no pool has these channels
            for loop_pool, leases, connections in shut:
                end = functools.partial(_end, loop_pool.pool, leases, connections)
                if loop_pool.loop.is_closed():
                    loop_pool.pool.abandon(ending)
                elif loop_pool.loop.is_running():
                    await on_loop(end(), loop_pool.loop)
                else:  # when it runs again, if ever
                    soon(loop_pool.loop, functools.partial(loop_pool.do, end))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def _pool(self) -> Pool:
        loop = asyncio._get_running_loop()
        if loop is None:
            raise RuntimeError(
                "no event loop runs here, and channels of grpc.aio belong to one: call get() and "
                "stub() in a coroutine, or use grpc_guard.ChannelRegistry for threads"
            )
        loop_pool = self._loop_pools.get(loop) or self._add_loop(loop)
        return loop_pool.pool

    def _add_loop(self, loop: asyncio.AbstractEventLoop) -> LoopPool:
        with self._mutex:
            for other in tuple(self._loop_pools):
                if other.is_closed():
                    self._forget_loop(other)
            loop_pool = LoopPool(loop, self._limits)
            if self._closed is None:
                return self._loop_pools.setdefault(loop, loop_pool)
            loop_pool.pool.shut(self._closed)
            return loop_pool

    def _forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget the channels of a loop that is closed; grpcio closes them as they are dropped."""
        loop_pool = self._loop_pools.pop(loop)
        loop_pool.report_lost_leases()
        loop_pool.pool.abandon(Origin("loop", None))
        for key in tuple(self._stubs):
            if key[0] is loop_pool.pool.life:
                self._stubs.pop(key, None)

    def _pools(self) -> Iterable[Pool]:
        return [loop_pool.pool for loop_pool in tuple(self._loop_pools.values())]

    def _lease(self, pool: Pool, wanted: Settings, *, is_own: bool = False) -> Lease:
        loop = asyncio.get_running_loop()
        record = LeaseRecord(pool, note_origin("get"), is_own)
        lease = Lease(record, self._mode, loop)  # first: the record follows it
        pool.grant(record, wanted)
        record.is_given = True
        return lease

    def _is_closed(self) -> bool:
        return self._closed is not None

    @staticmethod
    def _connectivity(channel: Any) -> grpc.ChannelConnectivity | None:
        state: grpc.ChannelConnectivity = channel.get_state()
        return state


class LoopPool:
    """The pool of one loop, and its maintenance on that loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop = loop
        self.pool = Pool(**limits, make=_make, wake=self._wake)
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly

    def _wake(self, _: object = None) -> None:
        soon(self.loop, self._clean_up)

    def _clean_up(self) -> None:
        connections, seconds = self.report_lost_leases()
        if connections:
            self.do(functools.partial(close_all, self.pool, connections))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._clean_up)

    def do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start `work`; called on the loop."""
        task = self.loop.create_task(work())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def report_lost_leases(self) -> tuple[list[Connection], float | None]:
        """Record leases that were not closed; return what to close, and when to check again."""
        leases, connections, seconds = self.pool.clean_up()
        for lease in leases:
            if lease.state is LeaseState.CLOSING:  # its close() was interrupted
                lease.cancel_rpcs()
            if was_dropped(lease):
                lost(lease, "aio")
        return connections, seconds


async def _end(
    pool: Pool, leases: Iterable[LeaseRecord], connections: Iterable[Connection]
) -> None:
    for lease in leases:
        lease.cancel_rpcs()  # grpcio 1.66 cancels only calls that a task waits for
    await close_all(pool, connections)
    pool.empty(leases)


def _make(wanted: Settings) -> grpc.aio.Channel:
    arguments = (wanted.channel_options, wanted.compression, wanted.interceptors)
    if wanted.credentials is None:
        return grpc.aio.insecure_channel(wanted.target, *arguments)
    return grpc.aio.secure_channel(wanted.target, wanted.credentials, *arguments)
