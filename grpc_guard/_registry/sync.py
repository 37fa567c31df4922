"""The registry of channels for threads."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Sequence
from typing import Any, Self

import grpc

from .._catalogue.clock import monotonic
from .._catalogue.lazy import public
from .._catalogue.modes import Mode, ModeName
from .._findings.origins import note_origin
from .cleanup import Cleanup
from .leases import LeaseRecord
from .pool import Pool
from .settings import Settings, settings
from .shares import Registry, checked_seconds
from .sync_lease import Lease, close_all


@public
class ChannelRegistry(Registry):
    """Channels that are shared: equal arguments get one connection, for any number of threads.

    ``get()`` returns a lease, which is a guarded ``grpc.Channel`` whose ``close()`` ends that
    lease only. A channel closes when its last lease has ended and `idle_seconds` have passed
    (None: at once).

    `mode` is the mode of the guard: ``raise``, ``warn``, ``serialize`` or ``off``. When
    `max_streams` streams (None: any number) are open on a connection, the registry opens the next
    one on another connection, and closes that when it is no longer needed: servers and proxies
    accept about 100 on one, and let further ones wait, without an error.

    A forked child starts with an empty registry. Safe to use from any thread.
    Raises ValueError for an invalid setting.

    Source: gRPC, Performance Best Practices: re-use stubs and channels.
    """

    def __init__(
        self,
        *,
        mode: ModeName | Mode = "raise",
        max_streams: int | None = 100,
        idle_seconds: float | None = None,
    ) -> None:
        super().__init__(mode=mode, max_streams=max_streams, idle_seconds=idle_seconds)
        self._cleanup = Cleanup(**self._limits, make=_make)

    def get(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        compression: grpc.Compression | None = None,
        interceptors: Sequence[Any] = (),
    ) -> Lease:
        """Return a lease of the channel to `target`; make the channel if it does not exist.

        Without `credentials` it is insecure. A channel is shared if all arguments are equal;
        credentials and interceptors are equal only if they are the same objects.

        Raises RuntimeError if the registry is closed, TypeError or ValueError for an invalid
        argument.
        """
        wanted = settings(target, credentials, options, compression, interceptors)
        return self._lease(self._cleanup.pool, wanted)

    def close(self, grace: float | None = None) -> None:
        """End every lease and close every channel; get() raises RuntimeError from then on.

        RPCs in progress may continue for `grace` seconds, then they are cancelled; None: at once.
        No new RPC starts. Idempotent; other threads may call get() at the same time.
        """
        seconds = checked_seconds(grace, "close(grace)")
        pool = self._cleanup.pool
        leases, connections = pool.shut(note_origin("close"))
        self._stubs.clear()
        try:
            if seconds:
                _await_rpcs(leases, seconds)
        finally:  # even after an interrupt; the next close() does what is left
            for lease in leases:
                lease.cancel_rpcs()
            close_all(pool, connections)
            pool.empty(leases)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _pool(self) -> Pool:
        return self._cleanup.pool

    def _pools(self) -> Iterable[Pool]:
        return (self._cleanup.pool,)

    def _lease(self, pool: Pool, wanted: Settings, *, is_own: bool = False) -> Lease:
        record = LeaseRecord(pool, note_origin("get"), is_own)
        lease = Lease(record, self._mode)  # first: the record follows it
        pool.grant(record, wanted)
        record.is_given = True
        return lease

    def _is_closed(self) -> bool:
        return self._cleanup.pool.closed is not None

    @staticmethod
    def _connectivity(channel: Any) -> grpc.ChannelConnectivity | None:
        return _connectivity(channel)


def _make(wanted: Settings) -> Any:
    arguments = (wanted.channel_options, wanted.compression)
    if wanted.credentials is None:
        channel = grpc.insecure_channel(wanted.target, *arguments)
    else:
        channel = grpc.secure_channel(wanted.target, wanted.credentials, *arguments)
    return grpc.intercept_channel(channel, *wanted.interceptors)


def _connectivity(channel: Any) -> grpc.ChannelConnectivity | None:
    """Return the state of a channel without a subscription, which would cost a thread.

    Below interceptors, it is under a private name of grpcio.
    """
    while not hasattr(channel, "check_connectivity_state"):
        channel = getattr(channel, "_channel", None)
        if channel is None:
            return None
    try:
        code = channel.check_connectivity_state(False)
    except ValueError:  # closed meanwhile
        return grpc.ChannelConnectivity.SHUTDOWN
    return next(state for state in grpc.ChannelConnectivity if state.value[0] == code)


def _await_rpcs(leases: list[LeaseRecord], seconds: float) -> None:
    over: queue.SimpleQueue[None] = queue.SimpleQueue()
    waiting = sum(lease.watch(lambda: over.put(None)) for lease in leases)
    until = monotonic() + seconds
    try:
        for _ in range(waiting):
            over.get(timeout=max(0.0, until - monotonic()))
    except queue.Empty:
        pass
