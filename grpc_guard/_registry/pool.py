"""The core of a registry: which leases share which channel, and which channels are unused.

It knows neither threads nor loops and does no I/O: it tells its caller which channels to close.
The mutex is reentrant, because a finaliser or a signal handler of the same thread may run at any
point.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from .._catalogue.forks import inherit, start_clean
from .._findings.origins import Origin, note_origin
from .._lifecycle import channels
from .leases import Connection, Entry, LeaseEnded, LeaseRecord, LeaseState, Rpc, Start
from .records import ChannelRecord
from .settings import Settings
from .upkeep import Upkeep


class Pool(Upkeep):
    """The channels of one registry (aio: of one registry on one loop).

    `make` makes a channel from settings, `on_entry` is called after a lease was granted, while
    nothing is locked. For `wake` see Upkeep.
    """

    def __init__(
        self,
        *,
        max_streams: int | None,
        idle_seconds: float | None,
        make: Callable[[Settings], Any],
        wake: Callable[[object], object],
        on_entry: Callable[[], object] = lambda: None,
    ) -> None:
        self.max_streams = max_streams
        self._make = make
        self._on_entry = on_entry
        super().__init__(idle_seconds, wake)
        start_clean(self)

    def _clear(self) -> None:
        super()._clear()
        self.life = object()  # replaced after a fork
        self._making = threading.RLock()  # one thread makes a channel, the others wait for it

    def after_fork(self) -> None:
        """Start empty in a forked child; what the parent holds is neither used nor destroyed."""
        inherit((self._entries, self._unclosed))
        fork = Origin("fork", None)
        for entry in self._entries.values():
            inherit(entry.connections)
            entry.connections = []  # leases of the parent that end here close no channel
            for lease in entry.leases:
                lease.finish(fork, LeaseState.ENDED)
                lease.forget()
        self._clear()

    # Leases

    def grant(self, lease: LeaseRecord, settings: Settings) -> None:
        """Give a new `lease` a share in the channel with these settings; make it if needed."""
        while not self._enter(settings.key, lease):
            with self._making:
                if settings.key not in self._entries:
                    entry = Entry(settings, lease.origin)
                    entry.connections.append(Connection(entry, self._made(settings), lease.origin))
                    with self.mutex:
                        # A finaliser may have changed it meanwhile.
                        if self.closed is None and settings.key not in self._entries:
                            lease.entry = entry  # first: if the lease is dropped, so is the entry
                            entry.leases.add(lease)
                            self._entries[settings.key] = entry
        self._on_entry()

    def _made(self, settings: Settings) -> Any:
        with channels.pooled(is_limited=self.max_streams is not None):
            return self._make(settings)

    def _enter(self, key: Hashable, lease: LeaseRecord) -> bool:
        with self.mutex:
            if self.closed is not None:
                raise RuntimeError(
                    f"registry is closed: {self.closed.operation}() was called {self.closed} by "
                    f"{self.closed.kind} {self.closed.name!r}; make a new registry"
                )
            entry = self._entries.get(key)
            if entry is None:
                return False
            lease.entry = entry
            entry.leases.add(lease)
            if not entry.connections:  # a finaliser has closed the registry before this
                return False
            self._idle.pop(entry, None)  # only now: a finaliser may have closed the last lease
            return True

    def close(self, lease: LeaseRecord, ending: Origin) -> bool:
        """Refuse new RPCs on `lease`; return False if there is nothing left to do.

        Also True if an earlier close() was interrupted: all of it is done again.
        """
        with self.mutex:
            lease.finish(ending, LeaseState.CLOSING)
            return lease.state is LeaseState.CLOSING

    # RPCs

    def begin(
        self, lease: LeaseRecord, is_stream: bool, who: str, *, may_grow: bool = True
    ) -> Start:
        """Register an RPC that is about to start; ``rpc.connection`` is its connection.

        Streams fill the first connection up to max_streams, then the next. A unary RPC is not
        counted, but uses a connection with room: on a full one it might have to wait. Raises
        LeaseEnded if the lease has ended.
        """
        while (start := self._reserve(lease, is_stream, who, may_grow)) is None:
            with self._making:
                entry = lease.entry
                if self._connection_with_room(entry) is None:
                    connection = Connection(entry, self._made(entry.settings), note_origin("start"))
                    with self.mutex:
                        if lease.ending is None:
                            entry.connections.append(connection)
        return start

    def _reserve(
        self, lease: LeaseRecord, is_stream: bool, who: str, may_grow: bool
    ) -> Start | None:
        with self.mutex:
            if self.notes:
                self._settle()
            if lease.ending is None:
                connection = self._connection_with_room(lease.entry)
                if connection is None:
                    if may_grow:
                        return None
                    connection = lease.entry.connections[0]
                if self._idle:
                    self._idle.pop(connection, None)
                rpc = Rpc(lease, connection, is_stream)
                start = rpc.begin()
                self._rpcs.add(rpc)
                connection.reserve(rpc, who)
                return start
        raise LeaseEnded

    def _connection_with_room(self, entry: Entry) -> Connection | None:
        most = self.max_streams
        for connection in entry.connections:
            if most is None or connection.streams < most:
                return connection
        return None

    @property
    def is_entered(self) -> bool:
        """Whether this thread is inside the pool already, as in a finaliser: it must not wait."""
        mutex: Any = self.mutex
        making: Any = self._making
        return bool(mutex._is_owned() or making._is_owned())

    def snapshot(self, connectivity: Callable[[Any], Any]) -> Iterable[ChannelRecord]:
        """Yield a record of each channel; `connectivity` returns the state of one."""
        with self.mutex:
            self._settle()
            seen = [
                (connection, len(entry.leases), connection.streams, connection.live)
                for entry in self._entries.values()
                for connection in entry.connections
            ]
        for connection, leases, streams, live in seen:
            yield ChannelRecord(
                target=connection.entry.settings.target,
                connectivity=connectivity(connection.channel),
                age=connection.origin.age,
                born_at=str(connection.origin),
                leases=leases,
                streams=streams,
                rpcs_in_progress=live,
                rpcs=connection.rpcs,
                used_by=tuple(connection.callers),
            )
