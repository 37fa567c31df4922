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
    """A weak reference that says, when its object is collected, what that was about."""

    __slots__ = ("about",)

    about: Any


def note_end(thing: object, about: LeaseRecord | Rpc, pool: Pool) -> tuple[Note, Note]:
    """Have it noted in `pool` that `thing` was collected, for as long as the result is kept.

    CPython swallows what is injected into a finaliser, with what that still had to do. So the
    note is one call into C, which cannot be interrupted; to wake the cleanup is another matter.
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
    """One real channel, and what lives on it: sets, since a count may be interrupted half way."""

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
        """Take `rpc` out; again changes nothing."""
        self._live.discard(rpc)
        self._streams.discard(rpc)
        rpc.lease.rpcs.discard(rpc)

    @property
    def is_spare(self) -> bool:
        """Whether it was opened for many streams and has none any more."""
        return not self._live and self in self.entry.connections[1:]


class LeaseRecord:
    """What the core knows of a lease, which it holds weakly."""

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

    entry: Entry  # once it was granted

    def __init__(self, pool: Pool, origin: Origin, is_own: bool) -> None:
        self.pool = pool
        self.origin = origin
        self.is_own = is_own  # the registry's, for its stubs
        self.state = LeaseState.OPEN
        self.ending: Origin | None = None  # where it was closed
        self.is_given = False  # to the caller of get(): else that was interrupted
        self.is_cancelled = False  # what starts still was about to when the lease was closed
        self.is_dropped = False  # collected; its RPCs may still live
        self.rpcs: set[Rpc] = set()
        self.on_last_rpc: tuple[Callable[[], object], ...] = ()
        self.subscribed: list[Callable[[Any], object]] = []  # called with the channel's states
        self._notes: tuple[Note, ...] = ()

    def follow(self, lease: Any) -> None:
        """Notice when `lease` is collected."""
        self._notes = note_end(lease, self, self.pool)

    def finish(self, ending: Origin, state: LeaseState) -> None:
        """Let nothing start on the lease any more; again changes nothing."""
        if self.ending is None:
            self.state = state
            self.ending = ending

    def forget(self) -> None:
        """Do not wait for the lease's being collected any more."""
        self.state = LeaseState.GONE
        self._notes = ()

    def watch(self, callback: Callable[[], object]) -> bool:
        """Have `callback` called after the last RPC; False if there is none.

        It must take no lock: a finaliser may call it.
        """
        self.on_last_rpc += (callback,)  # beside others: a lease and its registry both wait
        return bool(self.rpcs)

    def cancel_rpcs(self) -> None:
        """Cancel what was started through the lease and lives, as closing its channel would."""
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
        """Return what stands for the RPC; when that is collected, the RPC is over."""
        start = Start(self)
        self._notes = note_end(start, self, self.lease.pool)
        return start

    def call(self) -> Any:
        """Return the call, None if there is none yet or any more."""
        thing = self._notes[0]() if self._notes else None
        return None if type(thing) is Start else thing

    def hold(self, call: Any) -> None:
        """Know `call`, and notice when it is collected; one that cannot be held ends here."""
        try:
            self._notes = note_end(call, self, self.lease.pool)
        except TypeError:
            self.end()
        if self.lease.is_cancelled:  # while the call was made: nobody knew it then
            self.cancel(call)

    def cancel(self, call: Any) -> None:
        """Cancel `call`; one that cannot be cancelled, as an interceptor's may, ends here."""
        try:
            call.cancel()
        except Exception as error:  # does not concern the code that closes the lease
            self.end()
            if is_injected(error):
                raise
            if not isinstance(error, AttributeError):
                logger.exception("a call could not be cancelled")

    def end(self, *_: object) -> None:
        """Note that it is over: from any thread, at any moment, as often as one likes."""
        self.lease.pool.ended(self)

    def forget(self) -> None:
        """Wait for nothing any more."""
        self._notes = ()
