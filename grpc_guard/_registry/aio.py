"""The registry of channels for tasks: a pool for each event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from .._catalogue.forks import inherit, start_clean
from .._catalogue.modes import Mode
from .._findings.origins import Birth, born
from .aio_lease import Lease, await_rpcs, close_all, on_loop, soon
from .endings import lost
from .leases import Connection, Tenant
from .pool import Pool
from .settings import Settings, settings
from .shares import Limits, Registry, checked_seconds

if TYPE_CHECKING:
    from typing_extensions import Self


class ChannelRegistry(Registry):
    """Channels shared by whoever asks for the same: one connection, any number of tasks.

    As :class:`grpc_guard.ChannelRegistry`, for ``grpc.aio``: ``get()`` and ``stub()`` are plain calls
    in a running loop, and each loop has channels of its own.

    ``get()`` returns a lease, which is a guarded ``grpc.aio.Channel`` whose ``close()`` ends
    that lease only. A channel closes when its last lease has ended and `idle_seconds` have
    passed (None: at once). For `mode` and `max_streams` see there.

    Raises ValueError for a setting that is none.
    """

    def __init__(
        self,
        *,
        mode: str | Mode = "raise",
        max_streams: int | None = 100,
        idle_seconds: float | None = None,
    ) -> None:
        super().__init__(mode=mode, max_streams=max_streams, idle_seconds=idle_seconds)
        self._closed: Birth | None = None
        self._clear()
        start_clean(self)

    def _clear(self) -> None:
        self._houses: dict[asyncio.AbstractEventLoop, House] = {}
        self._mutex = threading.RLock()  # which loops have houses, never across their work

    def after_fork(self) -> None:
        """Start without loops: the one that forked looks in the child as if it ran there."""
        inherit(self._houses)
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
        """Return a lease of this loop's channel to `target`, which is made if there is none.

        Without `credentials` it is insecure. A channel is shared where all arguments are equal:
        credentials and interceptors where they are the same objects.

        Raises RuntimeError if the registry is closed or no event loop runs here, TypeError or
        ValueError for an argument that is none.
        """
        wanted = settings(target, credentials, options, compression, interceptors)
        return self._lease(self._pool(), wanted)

    async def close(self, grace: float | None = None) -> None:
        """End every lease and close every channel; get() raises RuntimeError from then on.

        What lives may go on for `grace` seconds, then it is cancelled; None: at once.
        Nothing new starts meanwhile. Idempotent, and safe beside get(). Channels of other
        loops are closed on those; of one that stands still, when it runs again.
        """
        seconds = checked_seconds(grace, "close(grace)")
        ending = born("close")
        with self._mutex:
            self._closed = self._closed or ending
            houses = tuple(self._houses.values())
        shut = [(house, *house.pool.shut(ending)) for house in houses]
        self._stubs.clear()
        try:
            if seconds:
                await await_rpcs([tenant for _, tenants, _ in shut for tenant in tenants], seconds)
        finally:  # also if nobody waits for it any more: these channels are in no pool
            for house, tenants, connections in shut:
                end = functools.partial(_end, tenants, connections)
                if house.loop.is_running():
                    await on_loop(end(), house.loop)
                else:  # when it runs again, if ever
                    soon(house.loop, functools.partial(house.do, end))

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
        house = self._houses.get(loop) or self._move_in(loop)
        return house.pool

    def _move_in(self, loop: asyncio.AbstractEventLoop) -> House:
        with self._mutex:
            for other in tuple(self._houses):
                if other.is_closed():
                    self._move_out(other)
            house = House(loop, self._limits)
            if self._closed is None:
                return self._houses.setdefault(loop, house)
            house.pool.shut(self._closed)
            return house

    def _move_out(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget the channels of a loop that is closed; grpcio closes them as they are dropped."""
        house = self._houses.pop(loop)
        house.tell_of_the_lost()
        house.pool.shut(Birth("loop", None))
        for key in tuple(self._stubs):
            if key[0] is house.pool.life:
                self._stubs.pop(key, None)

    def _pools(self) -> Iterable[Pool]:
        return [house.pool for house in tuple(self._houses.values())]

    def _lease(self, pool: Pool, wanted: Settings, *, is_own: bool = False) -> Lease:
        loop = asyncio.get_running_loop()
        return Lease(pool.admit(wanted, is_own=is_own), self._mode, loop)

    def _is_closed(self) -> bool:
        return self._closed is not None

    @staticmethod
    def _connectivity(channel: Any) -> grpc.ChannelConnectivity | None:
        state: grpc.ChannelConnectivity = channel.get_state()
        return state


class House:
    """The pool of one loop, and what keeps it in order on that loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop = loop
        self.pool = Pool(**limits, make=_make, wake=self._wake)
        self._timer: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly

    def _wake(self) -> None:
        soon(self.loop, self._keep_house)

    def _keep_house(self) -> None:
        connections, seconds = self.tell_of_the_lost()
        if connections:
            self.do(functools.partial(close_all, connections))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._keep_house)

    def do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start `work`; to be called on the loop."""
        task = self.loop.create_task(work())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def tell_of_the_lost(self) -> tuple[list[Connection], float | None]:
        """Record leases that nobody closed; return what to close, and when to come again."""
        tenants, connections, seconds = self.pool.keep_house()
        for tenant in tenants:
            if not tenant.is_own:
                lost(tenant, "aio")
        return connections, seconds


async def _end(tenants: Iterable[Tenant], connections: Iterable[Connection]) -> None:
    for tenant in tenants:
        tenant.cancel_rpcs()  # grpcio 1.66 cancels only calls that a task waits for
    await close_all(connections)


def _make(wanted: Settings) -> grpc.aio.Channel:
    arguments = (wanted.channel_options, wanted.compression, wanted.interceptors)
    if wanted.credentials is None:
        return grpc.aio.insecure_channel(wanted.target, *arguments)
    return grpc.aio.secure_channel(wanted.target, wanted.credentials, *arguments)
