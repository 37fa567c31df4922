"""The core of a registry: who shares which channel, and which of them nobody needs any more.

Knows neither threads nor loops and does no I/O: it counts under one mutex, and says which
channels to close. The mutex is reentrant, because a finaliser or a signal handler of the
same thread may come in anywhere: each section leaves the counts whole before it calls
anything. Finalisers themselves take no lock: they leave a note, and wake who cleans up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from time import monotonic
from typing import Any

from .._catalogue.forks import inherit, start_clean
from .._findings.origins import Origin, note_origin
from .._lifecycle import channels
from .leases import Connection, Entry, LeaseEnded, LeaseRecord, Rpc
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
        self.closed: Origin | None = None
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
        self._dropped: deque[LeaseRecord] = deque()  # notes of leases that were collected

    def after_fork(self) -> None:
        """Start empty in a forked child; what the parent holds is neither used nor destroyed."""
        inherit(self._entries)
        fork = Origin("fork", None)
        for entry in self._entries.values():
            inherit(entry.connections)
            entry.connections = []  # whatever of the parent's ends here closes none
            for lease in entry.leases:
                lease.finish(lease.ending or fork)
        self._clear()

    # Leases

    def grant(self, settings: Settings, *, is_own: bool = False) -> LeaseRecord:
        """Return the record of a new lease of the channel with these settings; make it if there is none."""
        origin = note_origin("get")
        while (lease := self._enter(settings.key, origin, is_own)) is None:
            with self._making:
                if settings.key not in self._entries:
                    entry = Entry(settings, origin)
                    entry.connections.append(Connection(entry, self._made(settings), origin))
                    with self.mutex:
                        if self.closed is None:  # a finaliser may have been here meanwhile
                            self._entries.setdefault(settings.key, entry)
                    self._on_entry()
        return lease

    def _made(self, settings: Settings) -> Any:
        with channels.pooled(is_limited=self.max_streams is not None):
            return self._make(settings)

    def _enter(self, key: Hashable, origin: Origin, is_own: bool) -> LeaseRecord | None:
        with self.mutex:
            if self.closed is not None:
                raise RuntimeError(
                    f"registry is closed: {self.closed.operation}() was called {self.closed} by "
                    f"{self.closed.kind} {self.closed.name!r}; make a new registry"
                )
            entry = self._entries.get(key)
            if entry is None:
                return None
            lease = LeaseRecord(self, entry, origin, is_own)
            entry.leases.add(lease)
            if not entry.connections:  # a finaliser has closed the registry before this
                return None
            self._idle.pop(entry, None)  # now: one may have closed the last lease as well
            return lease

    def end(self, lease: LeaseRecord, ending: Origin) -> bool:
        """End a lease: nothing starts on it any more. False if it had ended already."""
        with self.mutex:
            if lease.ending is not None:
                return False
            lease.finish(ending)
            return True

    def leave(self, lease: LeaseRecord, *, later: bool = False) -> list[Connection]:
        """Give up the place of a lease that has ended; return the connections to close.

        With `later` there are none: the background cleanup closes them.
        """
        entry = lease.entry
        close: list[Connection] = []
        with self.mutex:
            entry.leases.discard(lease)
            if not entry.leases and entry.connections:
                if self.idle_seconds or later:
                    self._retire(entry)
                else:
                    close = self._remove(entry)
        if self.is_empty:
            self._wake()
        return close

    def dropped(self, lease: LeaseRecord) -> None:
        """Note that a lease was collected without an end. A finaliser calls it: takes no lock."""
        self._dropped.append(lease)
        self._wake()

    # RPCs

    def begin(self, lease: LeaseRecord, is_stream: bool, who: str, *, may_grow: bool = True) -> Rpc:
        """Enter an RPC that is about to start: ``rpc.connection`` is where.

        Streams fill the first connection up to max_streams, then the next. A unary RPC is not
        counted, but goes where there is room: behind a full connection it might have to wait.
        Raises LeaseEnded if the lease has ended.
        """
        while (rpc := self._reserve(lease, is_stream, who, may_grow)) is None:
            with self._making:
                entry = lease.entry
                if self._connection_with_room(entry) is None:
                    connection = Connection(entry, self._made(entry.settings), note_origin("start"))
                    with self.mutex:
                        if lease.ending is None:
                            entry.connections.append(connection)
        return rpc

    def _reserve(self, lease: LeaseRecord, is_stream: bool, who: str, may_grow: bool) -> Rpc | None:
        with self.mutex:
            if lease.ending is None:
                connection = self._connection_with_room(lease.entry)
                if connection is None:
                    if may_grow:
                        return None
                    connection = lease.entry.connections[0]
                if self._idle:
                    self._idle.pop(connection, None)
                rpc = connection.reserve(Rpc(lease, connection, is_stream), who)
                self._live += 1
                return rpc
        raise LeaseEnded

    def _connection_with_room(self, entry: Entry) -> Connection | None:
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
            lease, connection = rpc.lease, rpc.connection
            if rpc not in lease.rpcs:
                continue  # noted twice: by grpcio, and by the end of its call
            lease.rpcs.discard(rpc)
            connection.release(rpc)
            self._live -= 1
            if connection.is_spare:
                self._retire(connection)
            if not lease.rpcs:
                for callback in lease.on_last_rpc:
                    callback()
                if lease.is_dropped:
                    self._release(lease)
            if self.is_empty:
                self._wake()

    # Closing

    def _release(self, lease: LeaseRecord) -> None:
        """Give up the place of a lease that was collected; the rest is left to the background cleanup."""
        lease.entry.leases.discard(lease)
        if not lease.entry.leases:
            self._retire(lease.entry)

    def _retire(self, thing: Entry | Connection) -> None:
        """Have the background cleanup close `thing` when it has been idle long enough."""
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

    def clean_up(self) -> tuple[list[LeaseRecord], list[Connection], float | None]:
        """Work off the notes; return the leases lost, what to close, and when to come again.

        The time is in seconds from now; None if nothing is idle.
        """
        lost = []
        close: list[Connection] = []
        with self.mutex:
            self._settle()
            while self._dropped:
                lease = self._dropped.popleft()
                if lease.ending is None:
                    lease.finish(Origin("drop", None))
                    lost.append(lease)
                    lease.is_dropped = True
                    if not lease.rpcs:
                        self._release(lease)
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

    def shut(self, ending: Origin) -> tuple[list[LeaseRecord], list[Connection]]:
        """End every lease and let nobody in; return the leases, and what to close after them."""
        leases: list[LeaseRecord] = []
        connections: list[Connection] = []
        with self.mutex:
            self.closed = self.closed or ending
            for entry in tuple(self._entries.values()):
                for lease in tuple(entry.leases):
                    lease.finish(lease.ending or ending)
                    leases.append(lease)
                connections += self._remove(entry)
            self._idle.clear()
        return leases, connections

    def snapshot(self, connectivity: Callable[[Any], Any]) -> Iterable[ChannelRecord]:
        """Yield a record of each channel; `connectivity` tells the state of one."""
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
