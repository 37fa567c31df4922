"""Closing unused channels: any code notes them, only code that may wait closes them.

Sets, not counts, keep which leases and RPCs use a channel. They are changed by single steps that
may be repeated. So nothing is lost if an exception arrives in between: unfinished work is found at
the next check, or when its lease, its call or the start of its RPC is collected.
Finalisers take no lock: they leave a note, and wake the cleanup.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable

from .._catalogue.clock import monotonic
from .._findings.origins import Origin
from .leases import Connection, Entry, LeaseRecord, LeaseState, Note, Rpc


class Upkeep:
    """The channels of a pool, and which of them are idle, or out of it and yet to be closed.

    `wake` causes a call of clean_up() where waiting is allowed, and itself takes no lock.
    """

    def __init__(self, idle_seconds: float | None, wake: Callable[[object], object]) -> None:
        self.idle_seconds = idle_seconds
        self.closed: Origin | None = None
        self._wake = wake
        self._clear()

    def _clear(self) -> None:
        self.mutex = threading.RLock()  # for the shares, never across I/O or the program's code
        self._entries: dict[Hashable, Entry] = {}
        self._unclosed: dict[Connection, None] = {}  # removed from the entries, but not closed yet
        self._idle: dict[Entry | Connection, float] = {}  # until when each is kept, oldest first
        self._rpcs: set[Rpc] = set()  # without a noted end so far
        self.notes: deque[Note] = deque()  # of leases, calls and starts that were collected
        self._lost: dict[LeaseRecord, None] = {}  # collected; the cleanup will report them

    def wake(self, _: object = None) -> object:
        """Cause a call of clean_up() soon. A finaliser calls it: takes no lock."""
        return self._wake(None)

    def ended(self, rpc: Rpc) -> None:
        """Note that an RPC is over. A callback or a finaliser calls it: takes no lock."""
        lease, connection = rpc.lease, rpc.connection
        connection.release(rpc)
        self._rpcs.discard(rpc)
        if not lease.rpcs:
            callbacks, lease.on_last_rpc = lease.on_last_rpc, ()
            for callback in callbacks:
                callback()
        if connection.is_spare:
            self._retire(connection)
        if lease.is_dropped and not lease.rpcs:
            self._release(lease)
        if self.is_empty:
            self.wake()
        rpc.forget()  # last: until then, collecting it repeats all of this

    def leave(self, lease: LeaseRecord, *, later: bool = False) -> list[Connection]:
        """Give up the place of a lease that has ended; return the connections to close.

        With `later` it returns none: the background cleanup closes them.
        """
        entry = lease.entry
        close: list[Connection] = []
        with self.mutex:
            entry.leases.discard(lease)
            if not entry.leases:
                if self.idle_seconds or later:
                    if entry.connections:
                        self._retire(entry)
                else:
                    self._remove(entry)
                    close = [each for each in self._to_close() if each.entry is entry]
        if self.is_empty:
            self.wake()
        return close

    def closed_one(self, connection: Connection) -> None:
        """Note that the channel of `connection` has been closed."""
        self._unclosed.pop(connection, None)
        if self.is_empty:
            self.wake()

    def _settle(self) -> None:
        """Process the notes; each is removed only after it was processed."""
        while self.notes:
            about = self.notes[0].about
            if isinstance(about, Rpc):
                self.ended(about)
            elif about.state is not LeaseState.GONE:
                about.is_dropped = True
                if about.is_given:
                    self._lost[about] = None
                about.finish(Origin("drop", None), LeaseState.ENDED)
                if not about.rpcs:
                    self._release(about)
            self.notes.popleft()

    def _release(self, lease: LeaseRecord) -> None:
        """Give up the place of a lease that was collected; the rest is left to the background cleanup."""
        entry: Entry | None = getattr(lease, "entry", None)  # it may not have been granted
        if entry is not None:
            entry.leases.discard(lease)
            if not entry.leases:
                self._retire(entry)
        lease.forget()

    def _retire(self, thing: Entry | Connection) -> None:
        """Have the background cleanup close `thing` when it has been idle long enough."""
        self._idle.pop(thing, None)
        self._idle[thing] = monotonic() + (self.idle_seconds or 0)
        self.wake()

    def _remove(self, entry: Entry) -> None:
        """Refuse new leases. It may be repeated: it removes the connections last."""
        if self._entries.get(entry.settings.key) is entry:
            del self._entries[entry.settings.key]
        for connection in entry.connections:
            self._unclosed[connection] = None
            self._idle.pop(connection, None)
        self._idle.pop(entry, None)
        entry.connections = []

    def _to_close(self) -> list[Connection]:
        return [connection for connection in self._unclosed if not connection.is_closed]

    def clean_up(self) -> tuple[list[LeaseRecord], list[Connection], float | None]:
        """Process the notes; return the lost leases, what to close, and when to call it again.

        The time is in seconds from now; None if nothing is idle.
        """
        seconds = None
        with self.mutex:
            self._settle()
            now = monotonic()
            for thing, due in tuple(self._idle.items()):
                if due > now:
                    seconds = due - now
                    break
                if isinstance(thing, Connection):
                    if thing.is_spare:  # or it is used again
                        self._unclosed[thing] = None
                        thing.entry.connections.remove(thing)
                elif not thing.leases:  # otherwise a new lease shares it
                    self._remove(thing)
                self._idle.pop(thing, None)
            lost, self._lost = self._lost, {}
            return list(lost), self._to_close(), seconds

    @property
    def is_empty(self) -> bool:
        return not (self._entries or self._unclosed or self.notes or self._rpcs)

    def shut(self, ending: Origin) -> tuple[list[LeaseRecord], list[Connection]]:
        """End every lease and refuse new ones; return the leases, and what to close after them.

        Returns the same again until empty() was called.
        """
        with self.mutex:
            self.closed = self.closed or ending
            leases = [lease for entry in self._entries.values() for lease in entry.leases]
            for lease in leases:
                lease.finish(self.closed, LeaseState.ENDED)
            connections = [each for entry in self._entries.values() for each in entry.connections]
            return leases, connections + self._to_close()

    def empty(self, leases: Iterable[LeaseRecord]) -> None:
        """Forget what shut() has returned, which is closed."""
        with self.mutex:
            self._idle.clear()
            for entry in tuple(self._entries.values()):
                self._remove(entry)
            for connection in tuple(self._unclosed):
                if connection.is_closed:
                    self._unclosed.pop(connection, None)
            for lease in leases:
                lease.forget()
        self.wake()

    def abandon(self, ending: Origin) -> None:
        """End and forget everything without closing: grpcio closes dropped channels."""
        leases, connections = self.shut(ending)
        for connection in connections:
            connection.is_closed = True
        self.empty(leases)
