"""The records of the core: a shared entry, its connections, its leases, their RPCs."""

from __future__ import annotations

import enum
import logging
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .._catalogue.boundary import is_injected
from .._findings.origins import Origin
from .settings import Settings

logger = logging.getLogger("grpc_guard")

_CALLERS_KEPT = 32


class LeaseEnded(Exception):  # noqa: N818  # never leaves the package: grpcio's own kind does
    """An RPC was about to start on a lease that has ended."""


class LeaseState(enum.Enum):
    """The state of a lease.

    OPEN -> CLOSING (its close() has begun) -> GONE (its place in the pool is free)
    OPEN -> ENDED (by its registry's close(), a fork, or because it was dropped) -> GONE

    An interrupted close() leaves it CLOSING: the next one, or the background cleanup after the
    lease was dropped, does all of it again.
    """

    OPEN = enum.auto()
    CLOSING = enum.auto()
    ENDED = enum.auto()
    GONE = enum.auto()


class Pool(Protocol):
    """What a lease asks of the pool that it belongs to: see pool.py."""

    notes: deque[Any]

    @property
    def is_entered(self) -> bool: ...

    def wake(self, _: object = None) -> object: ...

    def begin(
        self, lease: LeaseRecord, is_stream: bool, who: str, *, may_grow: bool = True
    ) -> Start: ...

    def close(self, lease: LeaseRecord, ending: Origin) -> bool: ...

    def leave(self, lease: LeaseRecord, *, later: bool = False) -> list[Connection]: ...

    def closed_one(self, connection: Connection) -> None: ...

    def ended(self, rpc: Rpc) -> None: ...


class Note(weakref.ref[Any]):
    """A weak reference that tells, when its object is collected, what the object stood for."""

    __slots__ = ("about",)

    about: Any


def note_end(thing: object, about: LeaseRecord | Rpc, pool: Pool) -> tuple[Note, Note]:
    """Note in `pool` when `thing` is collected, as long as the result is kept.

    CPython swallows an exception that is injected into a finaliser, and the rest of the finaliser
    does not run. So the note is one call into C, which cannot be interrupted, and waking the
    cleanup is a separate step.
    """
    note = Note(thing, pool.notes.append)
    note.about = about
    return note, Note(thing, pool.wake)


class Entry:
    """What leases with equal settings share: one connection, or more while many streams live."""

    __slots__ = ("connections", "leases", "origin", "settings")

    def __init__(self, settings: Settings, origin: Origin) -> None:
        self.settings = settings
        self.origin = origin
        self.connections: list[Connection] = []
        self.leases: set[LeaseRecord] = set()


class Connection:
    """One real channel, and what lives on it: in sets, as a count can be interrupted half way."""

    __slots__ = ("_live", "_streams", "callers", "channel", "entry", "is_closed", "origin", "rpcs")

    def __init__(self, entry: Entry, channel: Any, origin: Origin) -> None:
        self.entry = entry
        self.channel = channel
        self.origin = origin
        self.is_closed = False
        self._live: set[Rpc] = set()
        self._streams: set[Rpc] = set()
        self.rpcs = 0  # RPCs ever
        self.callers: dict[str, None] = {}  # an ordered set of names

    @property
    def live(self) -> int:
        """How many RPCs are in progress."""
        return len(self._live)

    @property
    def streams(self) -> int:
        """How many of those are streams."""
        return len(self._streams)

    def reserve(self, rpc: Rpc, who: str) -> None:
        self._live.add(rpc)
        if rpc.is_stream:
            self._streams.add(rpc)
        rpc.lease.rpcs.add(rpc)
        self.rpcs += 1
        if who not in self.callers:
            self.callers[who] = None
            if len(self.callers) > _CALLERS_KEPT:
                del self.callers[next(iter(self.callers))]

    def release(self, rpc: Rpc) -> None:
        """Remove `rpc`; a second call changes nothing."""
        self._live.discard(rpc)
        self._streams.discard(rpc)
        rpc.lease.rpcs.discard(rpc)

    @property
    def is_spare(self) -> bool:
        """Whether it was opened for many streams and has none left."""
        return not self._live and self in self.entry.connections[1:]


class LeaseRecord:
    """What the core knows about a lease, which it holds weakly."""

    __slots__ = (
        "__weakref__",
        "_notes",
        "ending",
        "entry",
        "is_cancelled",
        "is_dropped",
        "is_given",
        "is_own",
        "on_last_rpc",
        "origin",
        "pool",
        "rpcs",
        "state",
        "subscribed",
    )

    entry: Entry  # set when it is granted

    def __init__(self, pool: Pool, origin: Origin, is_own: bool) -> None:
        self.pool = pool
        self.origin = origin
        self.is_own = is_own  # of the registry, for its stubs
        self.state = LeaseState.OPEN
        self.ending: Origin | None = None  # where it was closed
        self.is_given = False  # to the caller of get(); False if get() was interrupted
        self.is_cancelled = False  # cancel RPCs too that were just starting at close()
        self.is_dropped = False  # collected; its RPCs may still live
        self.rpcs: set[Rpc] = set()
        self.on_last_rpc: tuple[Callable[[], object], ...] = ()
        self.subscribed: list[Callable[[Any], object]] = []  # called with the channel's states
        self._notes: tuple[Note, ...] = ()

    def follow(self, lease: Any) -> None:
        """Notice when `lease` is collected."""
        self._notes = note_end(lease, self, self.pool)

    def finish(self, ending: Origin, state: LeaseState) -> None:
        """Refuse new RPCs on the lease; a second call changes nothing."""
        if self.ending is None:
            self.state = state
            self.ending = ending

    def forget(self) -> None:
        """Stop waiting for the lease to be collected."""
        self.state = LeaseState.GONE
        self._notes = ()

    def watch(self, callback: Callable[[], object]) -> bool:
        """Call `callback` after the last RPC; return False if no RPC is running.

        It must take no lock: a finaliser may call it.
        """
        self.on_last_rpc += (callback,)  # added to others: a lease and its registry may both wait
        return bool(self.rpcs)

    def cancel_rpcs(self) -> None:
        """Cancel the live RPCs of the lease, as closing its channel would."""
        self.is_cancelled = True
        for rpc in tuple(self.rpcs):
            call = rpc.call()
            if call is not None:
                rpc.cancel(call)


class Start:
    """Represents an RPC until there is a call: only the code that starts the RPC holds it."""

    __slots__ = ("__weakref__", "rpc")

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc


class Rpc:
    """One RPC in progress. Holds its call weakly: dropping a sync call must still cancel it."""

    __slots__ = ("_notes", "connection", "is_stream", "lease")

    def __init__(self, lease: LeaseRecord, connection: Connection, is_stream: bool) -> None:
        self.lease = lease
        self.connection = connection
        self.is_stream = is_stream
        self._notes: tuple[Note, ...] = ()

    def begin(self) -> Start:
        """Return an object that stands for the RPC; when it is collected, the RPC is over."""
        start = Start(self)
        self._notes = note_end(start, self, self.lease.pool)
        return start

    def call(self) -> Any:
        """Return the call, None if it does not exist yet or was collected."""
        thing = self._notes[0]() if self._notes else None
        return None if type(thing) is Start else thing

    def hold(self, call: Any) -> None:
        """Note `call`, and when it is collected; one that cannot be held weakly ends here."""
        try:
            self._notes = note_end(call, self, self.lease.pool)
        except TypeError:
            self.end()
        if self.lease.is_cancelled:  # it was closed while the call was made
            self.cancel(call)

    def cancel(self, call: Any) -> None:
        """Cancel `call`; one that cannot be cancelled (an interceptor's, say) ends here."""
        try:
            call.cancel()
        except Exception as error:  # does not concern the code that closes the lease
            self.end()
            if is_injected(error):
                raise
            if not isinstance(error, AttributeError):
                logger.exception("a call could not be cancelled")

    def end(self, *_: object) -> None:
        """Note that it is over: from any thread, at any moment, any number of times."""
        self.lease.pool.ended(self)

    def forget(self) -> None:
        """Stop waiting for anything."""
        self._notes = ()
