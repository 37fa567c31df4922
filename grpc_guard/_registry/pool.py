"""The core of a registry: who shares which channel, and which of them nobody needs any more.

Knows neither threads nor loops and does no I/O: it counts under one mutex, and says which
channels to close. The mutex is reentrant, because a finaliser or a signal handler of the
same thread may come in anywhere: each section leaves the counts whole before it calls
anything. Finalisers themselves take no lock: they leave a note, and wake whoever keeps house.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from time import monotonic
from typing import Any

from .._catalogue.forks import inherit, start_clean
from .._findings.origins import Birth, born
from .._lifecycle import channels
from .leases import Connection, Entry, LeaseEnded, Rpc, Tenant
from .records import ChannelRecord
from .settings import Settings


class Pool:
    """The channels of one registry (aio: of one registry on one loop).

    `make` makes a channel from settings. `wake` has keep_house() called soon by somebody who
    may wait, and itself takes no lock. `on_entry` is called after a first channel was made.
    """

    def __init__(
        self,
        *,
        max_streams: int | None,
        idle_seconds: float | None,
        make: Callable[[Settings], Any],
        wake: Callable[[], object],
        on_entry: Callable[[], object] = lambda: None,
    ) -> None:
        self.max_streams = max_streams
        self.idle_seconds = idle_seconds
        self.closed: Birth | None = None
        self._make = make
        self._wake = wake
        self._on_entry = on_entry
        self._live = 0  # RPCs whose end is still to be noted
        self._clear()
        start_clean(self)

    def _clear(self) -> None:
        self.life = object()  # another one after a fork
        self.mutex = threading.RLock()  # counts only, never across I/O or the program's code
        self._making = threading.RLock()  # one thread makes a channel, the others wait for it
        self._entries: dict[Hashable, Entry] = {}
        self._idle: dict[Entry | Connection, float] = {}  # until when each is kept, oldest first
        self._ended: deque[Rpc] = deque()  # notes of RPCs that are over
        self._dropped: deque[Tenant] = deque()  # notes of leases that were collected

    def after_fork(self) -> None:
        """Start empty in a forked child; what the parent holds is neither used nor destroyed."""
        inherit(self._entries)
        fork = Birth("fork", None)
        for entry in self._entries.values():
            inherit(entry.connections)
            entry.connections = []  # whatever of the parent's ends here closes none
            for tenant in entry.tenants:
                tenant.finish(tenant.ending or fork)
        self._clear()

    # Leases

    def admit(self, settings: Settings, *, is_own: bool = False) -> Tenant:
        """Return a new tenant of the channel with these settings; make it if there is none."""
        birth = born("get")
        while (tenant := self._enter(settings.key, birth, is_own)) is None:
            with self._making:
                if settings.key not in self._entries:
                    entry = Entry(settings, birth)
                    entry.connections.append(Connection(entry, self._made(settings), birth))
                    with self.mutex:
                        if self.closed is None:  # a finaliser may have been here meanwhile
                            self._entries.setdefault(settings.key, entry)
                    self._on_entry()
        return tenant

    def _made(self, settings: Settings) -> Any:
        with channels.pooled(is_limited=self.max_streams is not None):
            return self._make(settings)

    def _enter(self, key: Hashable, birth: Birth, is_own: bool) -> Tenant | None:
        with self.mutex:
            if self.closed is not None:
                raise RuntimeError(
                    f"registry is closed: {self.closed.operation}() was called {self.closed} by "
                    f"{self.closed.kind} {self.closed.name!r}; make a new registry"
                )
            entry = self._entries.get(key)
            if entry is None:
                return None
            tenant = Tenant(self, entry, birth, is_own)
            entry.tenants.add(tenant)
            if not entry.connections:  # a finaliser has closed the registry before this
                return None
            self._idle.pop(entry, None)  # now: one may have closed the last lease as well
            return tenant

    def end(self, tenant: Tenant, ending: Birth) -> bool:
        """End a lease: nothing starts on it any more. False if it had ended already."""
        with self.mutex:
            if tenant.ending is not None:
                return False
            tenant.finish(ending)
            return True

    def leave(self, tenant: Tenant, *, later: bool = False) -> list[Connection]:
        """Give up the place of a lease that has ended; return the connections to close.

        With `later` there are none: the house closes them.
        """
        entry = tenant.entry
        close: list[Connection] = []
        with self.mutex:
            entry.tenants.discard(tenant)
            if not entry.tenants and entry.connections:
                if self.idle_seconds or later:
                    self._retire(entry)
                else:
                    close = self._remove(entry)
        if self.is_empty:
            self._wake()
        return close

    def dropped(self, tenant: Tenant) -> None:
        """Note that a lease was collected without an end. A finaliser calls it: takes no lock."""
        self._dropped.append(tenant)
        self._wake()

    # RPCs

    def begin(self, tenant: Tenant, is_stream: bool, who: str, *, may_grow: bool = True) -> Rpc:
        """Enter an RPC that is about to start: ``rpc.connection`` is where.

        Streams fill the first connection up to max_streams, then the next. A unary RPC is not
        counted, but goes where there is room: behind a full connection it might have to wait.
        Raises LeaseEnded if the lease has ended.
        """
        while (rpc := self._seat(tenant, is_stream, who, may_grow)) is None:
            with self._making:
                entry = tenant.entry
                if self._roomy(entry) is None:
                    connection = Connection(entry, self._made(entry.settings), born("start"))
                    with self.mutex:
                        if tenant.ending is None:
                            entry.connections.append(connection)
        return rpc

    def _seat(self, tenant: Tenant, is_stream: bool, who: str, may_grow: bool) -> Rpc | None:
        with self.mutex:
            if tenant.ending is None:
                connection = self._roomy(tenant.entry)
                if connection is None:
                    if may_grow:
                        return None
                    connection = tenant.entry.connections[0]
                if self._idle:
                    self._idle.pop(connection, None)
                rpc = connection.seat(Rpc(tenant, connection, is_stream), who)
                self._live += 1
                return rpc
        raise LeaseEnded

    def _roomy(self, entry: Entry) -> Connection | None:
        most = self.max_streams
        for connection in entry.connections:
            if most is None or connection.streams < most:
                return connection
        return None

    def ended(self, rpc: Rpc) -> None:
        """Note that an RPC is over. A callback or a finaliser calls it: waits for no lock."""
        self._ended.append(rpc)
        if self.mutex.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self.mutex.release()
        if self._ended:  # whoever has the mutex may have looked before
            self._wake()

    def _settle(self) -> None:
        while self._ended:
            rpc = self._ended.popleft()
            tenant, connection = rpc.tenant, rpc.connection
            if rpc not in tenant.rpcs:
                continue  # noted twice: by grpcio, and by the end of its call
            tenant.rpcs.discard(rpc)
            connection.unseat(rpc)
            self._live -= 1
            if connection.is_spare:
                self._retire(connection)
            if not tenant.rpcs:
                for callback in tenant.on_last_rpc:
                    callback()
                if tenant.is_dropped:
                    self._vacate(tenant)
            if self.is_empty:
                self._wake()

    # Closing

    def _vacate(self, tenant: Tenant) -> None:
        """Give up the place of a lease that was collected; the rest is left to the house."""
        tenant.entry.tenants.discard(tenant)
        if not tenant.entry.tenants:
            self._retire(tenant.entry)

    def _retire(self, thing: Entry | Connection) -> None:
        """Have the house close `thing` when it has been idle long enough."""
        self._idle.pop(thing, None)
        self._idle[thing] = monotonic() + (self.idle_seconds or 0)
        self._wake()

    def _remove(self, entry: Entry) -> list[Connection]:
        if self._entries.get(entry.settings.key) is entry:
            del self._entries[entry.settings.key]
        connections, entry.connections = entry.connections, []
        for connection in connections:
            self._idle.pop(connection, None)
        return connections

    def keep_house(self) -> tuple[list[Tenant], list[Connection], float | None]:
        """Work off the notes; return the leases lost, what to close, and when to come again.

        The time is in seconds from now; None if nothing is idle.
        """
        lost = []
        close: list[Connection] = []
        with self.mutex:
            self._settle()
            while self._dropped:
                tenant = self._dropped.popleft()
                if tenant.ending is None:
                    tenant.finish(Birth("drop", None))
                    lost.append(tenant)
                    tenant.is_dropped = True
                    if not tenant.rpcs:
                        self._vacate(tenant)
            now = monotonic()
            while self._idle:
                thing, due = next(iter(self._idle.items()))
                if due > now:
                    return lost, close, due - now
                self._idle.pop(thing, None)
                if isinstance(thing, Entry):
                    close += self._remove(thing)
                else:
                    thing.entry.connections.remove(thing)
                    close.append(thing)
        return lost, close, None

    @property
    def is_entered(self) -> bool:
        """Whether this thread is inside the pool already, as in a finaliser: it must not wait."""
        mutex: Any = self.mutex
        making: Any = self._making
        return bool(mutex._is_owned() or making._is_owned())

    @property
    def is_empty(self) -> bool:
        return not (self._entries or self._dropped or self._ended or self._live)

    def shut(self, ending: Birth) -> tuple[list[Tenant], list[Connection]]:
        """End every lease and let nobody in; return the leases, and what to close after them."""
        tenants: list[Tenant] = []
        connections: list[Connection] = []
        with self.mutex:
            self.closed = self.closed or ending
            for entry in tuple(self._entries.values()):
                for tenant in tuple(entry.tenants):
                    tenant.finish(tenant.ending or ending)
                    tenants.append(tenant)
                connections += self._remove(entry)
            self._idle.clear()
        return tenants, connections

    def snapshot(self, connectivity: Callable[[Any], Any]) -> Iterable[ChannelRecord]:
        """Yield a record of each channel; `connectivity` tells the state of one."""
        with self.mutex:
            self._settle()
            seen = [
                (connection, len(entry.tenants), connection.streams, connection.live)
                for entry in self._entries.values()
                for connection in entry.connections
            ]
        for connection, leases, streams, live in seen:
            yield ChannelRecord(
                target=connection.entry.settings.target,
                connectivity=connectivity(connection.channel),
                age=connection.birth.age,
                born_at=str(connection.birth),
                leases=leases,
                streams=streams,
                rpcs_in_progress=live,
                rpcs=connection.rpcs,
                used_by=tuple(connection.callers),
            )
