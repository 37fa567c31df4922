"""The records of the core: a shared entry, its connections, its leases, their RPCs."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from .._catalogue.boundary import is_injected
from .._findings.origins import Origin
from .settings import Settings

logger = logging.getLogger("grpc_guard")

_CALLERS_KEPT = 32


class LeaseEnded(Exception):  # noqa: N818  # never leaves the package: grpcio's own kind does
    """An RPC was about to start on a lease that has ended."""


class Pool(Protocol):
    """What a lease asks of the pool that it belongs to: see pool.py."""

    @property
    def mutex(self) -> threading.RLock: ...

    @property
    def is_entered(self) -> bool: ...

    def begin(
        self, lease: LeaseRecord, is_stream: bool, who: str, *, may_grow: bool = True
    ) -> Rpc: ...

    def end(self, lease: LeaseRecord, ending: Origin) -> bool: ...

    def leave(self, lease: LeaseRecord, *, later: bool = False) -> list[Connection]: ...

    def ended(self, rpc: Rpc) -> None: ...

    def dropped(self, lease: LeaseRecord) -> None: ...


class Entry:
    """What leases with equal settings share: one connection, or more while many streams live."""

    __slots__ = ("connections", "leases", "origin", "settings")

    def __init__(self, settings: Settings, origin: Origin) -> None:
        self.settings = settings
        self.origin = origin
        self.connections: list[Connection] = []
        self.leases: set[LeaseRecord] = set()


class Connection:
    """One real channel, and the count of what lives on it."""

    __slots__ = ("callers", "channel", "entry", "is_closed", "live", "origin", "rpcs", "streams")

    def __init__(self, entry: Entry, channel: Any, origin: Origin) -> None:
        self.entry = entry
        self.channel = channel
        self.origin = origin
        self.is_closed = False
        self.live = 0  # RPCs in progress
        self.streams = 0  # those of them that are streams
        self.rpcs = 0  # RPCs ever
        self.callers: dict[str, None] = {}  # an ordered set of names

    def reserve(self, rpc: Rpc, who: str) -> Rpc:
        self.rpcs += 1
        self.live += 1
        self.streams += rpc.is_stream
        rpc.lease.rpcs.add(rpc)
        if who not in self.callers:
            self.callers[who] = None
            if len(self.callers) > _CALLERS_KEPT:
                del self.callers[next(iter(self.callers))]
        return rpc

    def release(self, rpc: Rpc) -> None:
        self.live -= 1
        self.streams -= rpc.is_stream
        rpc.call = None  # whose callback is in a cycle with the record

    @property
    def is_spare(self) -> bool:
        """Whether it was opened for many streams and has none any more."""
        return not self.live and self in self.entry.connections[1:]


class LeaseRecord:
    """What the core knows of a lease, which it holds weakly."""

    __slots__ = (
        "__weakref__",
        "_lease",
        "ending",
        "entry",
        "is_cancelled",
        "is_dropped",
        "is_own",
        "on_last_rpc",
        "origin",
        "pool",
        "rpcs",
        "subscribed",
    )

    def __init__(self, pool: Pool, entry: Entry, origin: Origin, is_own: bool) -> None:
        self.pool = pool
        self.entry = entry
        self.origin = origin
        self.is_own = is_own  # the registry's, for its stubs
        self.ending: Origin | None = None  # where it was closed
        self.is_cancelled = False  # what starts still was about to when the lease was closed
        self.is_dropped = False  # collected; its RPCs may still live
        self.rpcs: set[Rpc] = set()
        self.on_last_rpc: tuple[Callable[[], object], ...] = ()
        self.subscribed: list[Callable[[Any], object]] = []  # told of the channel's states
        self._lease: weakref.ref[Any] | None = None

    def follow(self, lease: Any) -> None:
        """Notice when `lease` is collected."""
        self._lease = weakref.ref(lease, lambda _: self.pool.dropped(self))

    def finish(self, ending: Origin) -> None:
        """Let nothing start on the lease any more, and do not wait for its being collected."""
        self.ending = ending
        self._lease = None  # whose callback is in a cycle with the record

    def watch(self, callback: Callable[[], object]) -> bool:
        """Have `callback` called after the last RPC; False if there is none.

        It must take no lock: a finaliser may call it.
        """
        with self.pool.mutex:
            self.on_last_rpc += (callback,)  # beside others: a lease and its registry both wait
            return bool(self.rpcs)

    def cancel_rpcs(self) -> None:
        """Cancel what was started through the lease and lives, as closing its channel would."""
        self.is_cancelled = True
        for rpc in tuple(self.rpcs):
            call = rpc.call() if rpc.call is not None else None
            if call is not None:
                rpc.cancel(call)


class Rpc:
    """One RPC in progress. Holds its call weakly: dropping a sync call must still cancel it."""

    __slots__ = ("call", "connection", "is_stream", "lease")

    def __init__(self, lease: LeaseRecord, connection: Connection, is_stream: bool) -> None:
        self.lease = lease
        self.connection = connection
        self.is_stream = is_stream
        self.call: weakref.ref[Any] | None = None

    def hold(self, call: Any) -> None:
        """Know `call`, and notice when it is collected; one that cannot be held ends here."""
        try:
            self.call = weakref.ref(call, self.end)
        except TypeError:
            self.end()
        if self.lease.is_cancelled:  # while the call was made: nobody knew it then
            self.cancel(call)

    def cancel(self, call: Any) -> None:
        """Cancel `call`; one that cannot be cancelled, as an interceptor's may, ends here."""
        try:
            call.cancel()
        except Exception as error:  # no matter of whoever closes the lease
            self.end()
            if is_injected(error):
                raise
            if not isinstance(error, AttributeError):
                logger.exception("a call could not be cancelled")

    def end(self, *_: object) -> None:
        """Note that it is over: from any thread, at any moment, as often as one likes."""
        self.lease.pool.ended(self)
