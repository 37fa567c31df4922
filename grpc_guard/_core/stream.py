"""The contract: at most one operation in progress per direction per stream.

The guard knows nothing of sync or async. An operation claims its direction by deleting a
token, does its work inside a ``try`` that follows at once, and puts the token back in the
``finally``. Both are single C operations and no calls, and between the claim and the ``try``
there is no call either. So no exception that a signal handler or another thread injects can
leave a direction owned (``lock.acquire(False)`` and ``list.pop()`` are calls: it can arrive
after they took effect and before the ``try`` began), and neither can a stack without room
for another call, which would refuse ``append()``.

The token of a sync direction is an attribute, ``free``: ``del direction.free`` is a claim if it
raises no AttributeError. In asyncio, where one thread alone gets that far, it is a flag: nobody
can come between ``if direction.taken`` and ``direction.taken = True``. Threads that wait for
their turn have a list: ``del token[1]`` and ``token += GIVE_BACK``. Under a trace function: _core/operations.py.
"""

from __future__ import annotations

from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType, MethodType
from typing import TYPE_CHECKING, Any, Protocol

from .._catalogue.forks import in_child
from .._catalogue.modes import Mode
from .._catalogue.nouns import Api, Subject, Way
from . import fields
from .extras import Extra, Turns, counted
from .records import AioFields, StreamFields, counter

if TYPE_CHECKING:
    import weakref

    from .._findings.origins import Origin


# Iterators that nobody can share: Python refuses the second caller.
_GENERATORS = (GeneratorType, AsyncGeneratorType)


def start_counting() -> None:
    """Count the operations of the streams that start from now on."""
    fields.counting = True


class Channel(Protocol):
    """What a stream knows of the channel that it was started on."""

    target: str
    api: Api
    origin: Origin
    thread: str
    closing: Origin | None

    def is_closed(self) -> bool:
        """Tell whether no RPC can start on the channel any more."""


class Stream(StreamFields):
    """One streaming RPC as one side sees it: its name, its directions, whether it lives.

    Holds its call weakly: dropping the last reference to a sync call cancels it, and a
    guard that kept it alive would change the program. Its directions too: they hold the stream.
    """

    __slots__ = ()

    @property
    def subject(self) -> Subject:
        """What a finding about this stream is about; made when it is asked for."""
        return Subject(self.rpc, self.side, self.api)

    def call(self) -> Any:
        """Return the call, or a server's context; None if it is not known or no more."""
        return self._context if self._call is None else self._call()

    def is_open(self) -> bool:
        """Tell whether the RPC is known to be running; False where it is over or cannot be followed."""
        return self.is_followed() and not self.is_over()

    def is_followed(self) -> bool:
        return self._call is not None or self._context is not None


class Direction:
    """READ or WRITE of one stream, whatever its token is, and what is known of its owner.

    ``owner`` is the thread of the operation in progress (sync) and ``since`` when it began
    (seconds, time.monotonic()): both are stored inside the claim, explain a conflict and
    never decide one. In aio ``owner`` is the task in which the owner was found last, held weakly.
    """

    if not TYPE_CHECKING:
        __slots__ = ()  # the fields are those of the class beside this one

    is_shared = True  # False where gRPC alone advances it
    asks_program = False  # True where that is a client's request iterator

    if TYPE_CHECKING:
        loop_thread: Any  # of an aio stream: what tells which thread runs its loop; else None
        caller: int | None  # of a sync direction, as `operation`: see SyncFields
        inside: Any  # of an aio direction: see AioFields
        operation: str | None
        owner: int | weakref.ref[Any] | None
        shows_frames: bool
        since: float
        stream: Stream
        way: Way
        _extra: Extra | None

    def _instrument(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Give the direction what its stream asks for; return `step` as it is done then."""
        stream, watch = self.stream, fields.watch
        watcher = watch(stream, step) if watch is not None and self.is_shared else None
        self._extra = Extra(
            watcher, takes_turns=self._takes_turns(step), is_counted=fields.counting
        )
        return self.prepared(step)

    def _takes_turns(self, step: Callable[..., Any]) -> bool:
        """Tell whether callers of `step` wait for each other.

        They do so in mode ``serialize``, but not at a request iterator that RPCs may share: one may
        wait there until the other has come.
        """
        iterator = getattr(step, "__self__", None)
        may_share = self.asks_program and not issubclass(type(iterator), _GENERATORS)
        return self.stream.mode is Mode.SERIALIZE and not may_share

    @property
    def tally(self) -> list[int] | None:
        """The number of operations so far, in a list of its own; None where nobody counts."""
        return None if self._extra is None else self._extra.tally

    @property
    def turns(self) -> Turns | None:
        """Who waits, in mode ``serialize``; None in all others."""
        return None if self._extra is None else self._extra.turns

    @property
    def watch(self) -> Any:
        """What the probe knows of this direction; None where nothing probes."""
        return None if self._extra is None else self._extra.watch

    @property
    def operations(self) -> int:
        """How many operations there were so far; 0 if nobody counts."""
        return 0 if self.tally is None else self.tally[0]

    def counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return `step`, counted if this process counts operations."""
        tally = self.tally
        if tally is None:
            return step

        # Must not hold the direction: in a cycle with its step it would keep the call alive.
        def counted(*args: Any) -> Any:
            tally[0] += 1  # exact: only the owner of the direction gets here
            return step(*args)

        return counted

    def prepared(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return `step` as the owner of the direction does it: counted, and watched."""
        if self._extra is None:
            return step
        step = self.counted(step)
        prepared: Callable[..., Any] = step if self.watch is None else self.watch.watching(step)
        return prepared

    if TYPE_CHECKING:

        def _has_token(self) -> bool: ...

    @property
    def is_free(self) -> bool:
        turns = None if self._extra is None else self._extra.turns
        return self._has_token() if turns is None else turns.is_free


class AioDirection(Direction, AioFields):
    """A direction of an aio stream, claimed by the methods of proxies on the loop's thread.

    ``step`` is the operation itself. In mode ``serialize`` it is never claimable: every
    operation takes the way of the turns.
    """

    __slots__ = ()

    def advancing(self, iterator: Any) -> Callable[..., Any]:
        """Return the step that asks for the next of `iterator`, as the owner does it.

        As ``async for``, it looks for ``__anext__`` on the type, each time.
        """
        return self.prepared(MethodType(anext, iterator))

    def _equip(self) -> None:
        self.step = self._instrument(self.step)
        self.taken = self.turns is not None

    def _has_token(self) -> bool:
        return not self.taken


class GrpcDriven(AioDirection):
    """The writing direction where gRPC itself asks for the next message, one after the other."""

    __slots__ = ()

    is_shared = False
    asks_program = True


def totals() -> tuple[int, int]:
    """Return how many streams and operations were guarded in this process.

    What a forked child inherits is its parent's, and is not counted in it.
    """
    return int(repr(fields.created)[len("count(") : -1]), counted()


def _start_again() -> None:
    fields.created = counter()


in_child(_start_again)
