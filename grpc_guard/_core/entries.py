"""What happens once for each handler: it is noted as in flight, and the end of its RPC is awaited.

The reference; entries.c and in_flight.c do the same, and a test compares them. InFlight is the base
of the class that says what follows: Handlers.
"""

from __future__ import annotations

import sys
import weakref
from _thread import get_ident
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import current_task
from .._catalogue.modes import ChooseMode, Mode

# grpcio's class of the context of a sync server's handlers. _lifecycle enters it here: to import
# the core is not to import grpc, as the core is imported while the program imports grpc.
SERVER_CONTEXT: type | None = None


class Entry:
    """A streaming handler in flight: its stream, and since when. Its RPC calls it at its end."""

    __slots__ = ("ident", "records", "since", "stream")

    is_free = False

    ident: int  # of its thread
    records: weakref.ref[InFlight]

    def __init__(self, stream: Any, /) -> None:
        self.stream: weakref.ref[Any] = weakref.ref(stream)
        self.since = monotonic()

    def __call__(self) -> None:
        stream = self.stream()
        if stream is not None and not stream.ended:
            records = self.records()
            if records is not None:
                records._rpc_ended(self)


class UnaryEntry:
    """A unary handler in flight: entry and stream in one record."""

    __slots__ = ("ended", "ident", "is_free", "is_gone", "records", "rpc", "since")

    write = None  # as of a stream that writes nothing

    ident: int
    records: weakref.ref[InFlight]

    def __init__(self, rpc: str, /) -> None:
        self.rpc = rpc
        self.ended = False
        self.is_gone = False  # whether the RPC ended before the handler
        self.is_free = False  # whether it has been called since the handler has ended
        self.since = monotonic()

    def __call__(self) -> None:
        if self.ended:
            self.is_free = True
        else:
            self.is_gone = True
            records = self.records()
            if records is not None:
                records._rpc_ended(self)

    def stream(self) -> UnaryEntry:
        return self

    def is_over(self) -> bool:
        return self.is_gone


class TaskEntry:
    """What a task handles, a stream or the name of a unary RPC: in flight until nobody has the entry."""

    __slots__ = ("__weakref__", "since", "task", "what")

    def __init__(self, what: Any, task: Any, /) -> None:
        self.what = what
        self.task: weakref.ref[Any] = weakref.ref(task)
        self.since = monotonic()


OFF = Mode.OFF
_new: Any = object.__new__


class InFlight:
    """The handlers of one server that are in flight.

    A thread runs one at a time: the next takes the place of the last. Those of tasks have entries
    that what runs the handler holds.
    """

    __slots__ = ("__weakref__", "_by_thread", "_forget", "_itself", "_of_tasks", "_size")

    def __init__(self, size: int, /) -> None:
        self._by_thread: dict[int, Any] = {}
        self._of_tasks: dict[weakref.ref[TaskEntry], None] = {}  # in the order of their begin
        self._forget: Callable[[weakref.ref[TaskEntry]], object] = self._of_tasks.pop
        self._size = size  # of the pool; 0 if it is never taken to be full
        self._itself = weakref.ref(self)

    def enter(self, stream: Any, context: Any = None, /) -> None:
        """Note that the running thread begins to handle `stream`.

        A `context` of the sync api tells when the RPC ends.
        """
        entry: Entry = _new(Entry)  # what Entry() does, without its frame
        entry.stream = weakref.ref(stream)
        entry.since = monotonic()
        entry.records = self._itself
        entry.ident = ident = get_ident()
        self._by_thread[ident] = entry
        if context is not None:
            self._follow(context, entry)
        if 0 < self._size <= len(self._by_thread):  # only a first, quick look
            self._watch()

    def enter_unary(self, rpc: str, context: Any = None, /) -> UnaryEntry:
        """Note the same for a unary RPC; the caller sets ``ended`` when the handler has ended."""
        entry = self._new_unary(rpc, get_ident())
        try:
            entry.ended = False
            if context is not None:
                self._follow(context, entry)
            if 0 < self._size <= len(self._by_thread):
                self._watch()
        except BaseException:
            entry.ended = True  # it is noted, and nobody handles it; the stream of an Entry dies
            raise
        return entry

    def _new_unary(self, rpc: str, ident: int) -> UnaryEntry:
        """Return a new entry of a thread: one that has ended, so that an interrupt leaves no other."""
        entry = UnaryEntry(rpc)
        entry.records, entry.ident, entry.ended = self._itself, ident, True
        self._by_thread[ident] = entry
        return entry

    def noting(
        self, plain: Callable[..., Any], second: int, rpc: str, choose: ChooseMode, /
    ) -> Callable[..., Any]:
        """Return what does the same as the unary handler function `plain`, and notes that it runs.

        It does what enter_unary() does, with few frames and objects: a unary RPC has few others. The
        entry of a thread serves its next RPC, if gRPC has called it by then: nobody else has it.
        """
        by_thread, enough = self._by_thread, self._size or sys.maxsize

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if choose() is OFF or len(args) <= second:  # with fewer, it is not gRPC that calls
                return plain(*args, **kwargs)
            context = args[second]
            ident, now = get_ident(), monotonic()
            entry = by_thread.get(ident)
            if entry is None or not entry.is_free:
                entry = self._new_unary(rpc, ident)
            entry.is_free, entry.rpc, entry.since = False, rpc, now
            try:
                entry.ended = False  # from here on, others see it
                callbacks: Any = None
                try:
                    if type(context) is SERVER_CONTEXT:
                        callbacks = context._state.callbacks  # type: ignore[attr-defined]
                except AttributeError:
                    pass
                if type(callbacks) is list:
                    callbacks.append(entry)
                else:
                    self._follow(context, entry)
                if len(by_thread) >= enough:
                    self._watch()
                return plain(*args, **kwargs)
            finally:
                entry.ended = True

        return guarded

    def _follow(self, context: Any, entry: Entry | UnaryEntry) -> None:
        """Have `entry` called when the RPC of `context` ends, or call it now if it has."""
        if type(context) is SERVER_CONTEXT:
            # Read here and not in _catalogue/grpcio.py: each RPC runs this, and add_callback() takes a
            # lock, which costs more than all the rest. If the RPC ends between two of these
            # instructions, the entry is not called.
            try:
                callbacks: Any = context._state.callbacks  # type: ignore[attr-defined]
            except AttributeError:
                callbacks = ()
            if type(callbacks) is list:
                callbacks.append(entry)
                return
            if callbacks is None:
                entry()
                return
        self._follow_other(context, entry)

    def enter_task(self, what: Any, loop: Any, /) -> TaskEntry | None:
        """Note that the running task of `loop` handles `what`, as long as the entry is there."""
        task = current_task(loop)
        if task is None:
            return None
        entry = TaskEntry(what, task)
        self._of_tasks[weakref.ref(entry, self._forget)] = None
        return entry

    def of_tasks(self) -> list[TaskEntry]:
        """Return the entries of tasks, in the order of their begin."""
        return [one for entry in list(self._of_tasks) if (one := entry()) is not None]

    if TYPE_CHECKING:

        def _follow_other(self, context: Any, entry: Any) -> None: ...

        def _rpc_ended(self, entry: Any) -> None: ...

        def _watch(self) -> None: ...
