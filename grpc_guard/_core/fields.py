"""What happens once for each stream: the records of a stream and its directions, and proxies made.

The reference; the files in c/ do the same, and a test compares them. Each class is the base of one
that adds what is no part of a start: Stream, SyncDirection, AioDirection, ProxyType.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from .._catalogue.modes import Mode
from .._catalogue.nouns import Api, Side, Way
from .loops import loop_thread_of

if TYPE_CHECKING:
    from .._findings.origins import Origin
    from .extras import Extra

P = TypeVar("P")

# How many streams were guarded. Counted without a lock: next() is atomic. Operations are counted
# where a report will tell them (grpc-guard run, pytest).
counter = itertools.count
created = counter()
counting = False

SERIALIZE = Mode.SERIALIZE  # once: an enumeration looks each up anew

# What looks at a direction's operations (_probe), made from its stream and its step; or None.
watch: Callable[[Any, Any], Any] | None = None


class StreamFields:
    """What is known of one stream."""

    __slots__ = (
        "__weakref__",
        "_call",
        "_context",
        "_has_ended",
        "_read",
        "_write",
        "api",
        "channel",
        "ended",
        "handler",
        "in_done_callback",
        "is_instrumented",
        "loop",
        "mode",
        "origin",
        "rpc",
        "side",
    )

    handler: tuple[weakref.ref[Any], weakref.ref[Any]] | None
    _has_ended: Callable[[Any], bool]  # with _call or _context

    def __init__(
        self,
        rpc: str,
        side: Side,
        api: Api,
        mode: Mode,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        next(created)
        self.rpc = rpc
        self.side = side
        self.api = api
        self.mode = mode
        self.loop = loop
        self.ended = False  # the handler has ended, or the blocking call has returned
        self.in_done_callback = False  # a done-callback runs: it may look at the stream still
        self._read: weakref.ref[Any] | None = None
        self._write: weakref.ref[Any] | None = None
        self.origin: Origin | None = None  # of a client's stream: where it was started …
        self.channel: Any = None  # … and on what
        self.handler = None  # task and generator, where what is yielded is written elsewhere
        self._call: weakref.ref[Any] | None = None
        self._context: Any = None
        # its directions count, wait or are watched
        self.is_instrumented = counting or watch is not None or mode is SERIALIZE

    def track_call(self, call: Any, has_ended: Callable[[Any], bool], /) -> None:
        """Learn from `call`, held weakly, whether the RPC is over: ``has_ended(call)``."""
        try:
            self._call = weakref.ref(call)
        except TypeError:
            return  # an interceptor's own kind of call: never known to be over
        self._has_ended = has_ended

    def track_context(self, context: Any, has_ended: Callable[[Any], bool], /) -> None:
        """Learn it from a server's `context`, which nobody else need keep to the end."""
        self._has_ended = has_ended
        self._context = context

    def is_over(self) -> bool:
        """Tell whether the RPC has ended: what is still inside it is on its way out."""
        if self.ended:
            return True
        if self._call is None:
            return self._context is not None and self._has_ended(self._context)
        call = self._call()
        return call is None or self._has_ended(call)

    # The directions belong to the proxies. They are held weakly here: they hold this record,
    # and with it in a cycle they would keep the user's iterators alive.

    @property
    def read(self) -> Any:
        return None if self._read is None else self._read()

    @read.setter
    def read(self, direction: Any) -> None:
        self._read = weakref.ref(direction)

    @property
    def write(self) -> Any:
        return None if self._write is None else self._write()

    @write.setter
    def write(self, direction: Any) -> None:
        self._write = weakref.ref(direction)


class SyncFields:
    """A direction of a sync iterator. ``_equip()`` is called where its stream asks for more."""

    __slots__ = ("__weakref__", "_extra", "free", "iterator", "owner", "since", "stream")

    _extra: Extra | None
    free: bool  # the token: there while nobody is inside

    # Of an operation that shows no frame, as those in C: its name, and the key of what called it.
    operation: str | None = None
    caller: int | None = None
    shows_frames = True

    def __init__(self, stream: Any, iterator: Any, /) -> None:
        self.free = True
        self.stream = stream
        self.owner: Any = None
        self.since = 0.0
        self._extra = None
        self.iterator = iterator
        if stream.is_instrumented:
            self._equip()

    if TYPE_CHECKING:

        def _equip(self) -> None: ...


class AioOperation:
    """An operation that shows no frame: in C. Here each shows one, so nothing is of this class.

    It ``owns`` its direction from its claim until it gives it back.
    """

    __slots__ = ("cr_await", "direction", "operation", "owns")

    cr_await: Any
    direction: Any
    operation: str
    owns: bool


def key_of(frame: FrameType) -> int:
    """Return what directions have as the caller of an operation, if `frame` is that."""
    return id(frame)


def operations_in_progress() -> list[Any]:
    """Return the sync directions whose owners show no frame: none, here."""
    return []


class AioFields:
    """A direction of an aio stream. ``_equip()`` is called where its stream asks for more."""

    __slots__ = (
        *("__weakref__", "_extra", "loop_thread", "owner", "since"),
        *("step", "stream", "taken", "way"),
    )

    _extra: Extra | None

    inside: AioOperation | None = None  # the owner, where it shows no frame
    shows_frames = True

    def __init__(self, stream: Any, way: Way, step: Any = None, /) -> None:
        self.stream = stream
        self.way = way
        self.owner: Any = None  # its task is looked for when somebody asks
        self.since = 0.0
        self._extra = None
        self.step = step
        self.taken = False
        loop = stream.loop
        # What loop_thread_of() does, without its frame where it can be.
        self.loop_thread: Any = loop if hasattr(loop, "_thread_id") else loop_thread_of(loop)
        if stream.is_instrumented:
            self._equip()

    if TYPE_CHECKING:

        def _equip(self) -> None: ...


_construct = type.__call__
# Assigns the real class: ``x.__class__ = …`` would assign that of the wrapped object.
_become = object.__dict__["__class__"].__set__


class ConstructingType(type):
    """Makes proxies, each of the class that belongs to what it wraps in the end: its twin.

    The attributes of a twin are those of what it wraps, so a constructor runs before. In C it
    runs on the twin, where a slot can be filled after what is wrapped.
    """

    _self_recipe: Any = None  # how C makes them without their constructor: see recipes.py
    _self_twins: dict[int, Any]

    def __call__(cls, wrapped: Any, /, *args: Any) -> Any:
        proxy, plain = _construct(cls, wrapped, *args), type(wrapped)
        _become(proxy, cls._self_twins.get(id(plain)) or cls._make_twin(plain))
        return proxy

    if TYPE_CHECKING:

        def _make_twin(cls, plain: Any) -> Any: ...
