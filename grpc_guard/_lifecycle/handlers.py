"""The handlers of a server that are in flight, whether they starve it, and which outlive their RPC.

Each server has its own records. They hold threads by their ident and tasks weakly.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from types import FrameType
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.cpython import (
    frames_of_threads,
    has_idle_workers,
    idents_of_workers,
    is_worker,
    size_of_pool,
    waiting_in_pool,
)
from .._catalogue.cpython_loops import default_executor, name_in_task, running_loop
from .._catalogue.grpcio import SERVER_CONTEXT, executor_of_server, is_aio_server, loop_of
from .._catalogue.grpcio_contexts import context_within
from .._catalogue.nouns import AIO, SERVER, SYNC, Subject
from .._catalogue.rules.starved_server import Starved, nobody_waits
from .._catalogue.thresholds import thresholds
from .._catalogue.timer import Timer
from .._core import entries, which
from .._core.records import Entry, InFlight, TaskEntry, UnaryEntry
from .._core.steps import IteratorFromFunction, step_of
from .._core.stream import Stream
from .._findings.origins import Origin, note_origin
from .._findings.parties import name_of_thread
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import fold, outward
from .._findings.waiters import await_chain
from . import abandoned, never_stopped
from .handled import Handled, HandledStreams
from .in_flight import items_of, serves, serves_from_pool
from .inherited import uses_aio

entries.SERVER_CONTEXT = SERVER_CONTEXT

ALL_RPCS = "(all RPCs of a server)"  # the RPC of a finding about a server itself
_SHORTEST = 0.01  # seconds between two looks at a server that is full

_of_servers: weakref.WeakKeyDictionary[object, Handlers] = weakref.WeakKeyDictionary()


class Handlers(InFlight):
    """The handlers of one server that are in flight, and what follows if they stay so."""

    _api = SYNC

    def __init__(self, pool: Executor | None) -> None:
        if not isinstance(pool, ThreadPoolExecutor):
            pool = None  # a pool that does not show its state
        super().__init__(size_of_pool(pool))
        self._pool = None if pool is None else weakref.ref(pool)
        self._watcher: threading.Thread | None = None
        self.origin: Origin | None = None  # where the server was made, if that was seen

    def enter_at_first_step(self, stream: Stream) -> None:
        """Note the same for the thread that takes the first step of the responses of `stream`."""
        responses: Any = stream.write
        step = step_of(responses.iterator)
        iterator = responses.iterator

        def first_step() -> Any:  # must not hold the direction: see Direction.counted
            responses: Any = stream.write
            responses.iterator = iterator
            self.enter(stream)
            return step()

        responses.iterator = IteratorFromFunction(first_step)

    @never_disturbs("the end of an RPC goes unnoticed")
    def _follow_other(self, context: Any, entry: Entry | UnaryEntry) -> None:
        """Have `entry` called when the RPC of `context` ends, which is not of grpcio's class."""
        own = context_within(context)
        if own is not None and own.add_callback(entry) is False:
            entry()

    @never_disturbs("the end of an RPC goes unnoticed")
    def _rpc_ended(self, entry: Entry | UnaryEntry) -> None:
        """Arrange a later check of a handler that still runs although its RPC has just ended."""
        look = functools.partial(self._look_at, entry)
        if look() is not None:
            abandoned.watch.add(abandoned.Suspect(entry.ident, look))

    def _look_at(self, entry: Entry | UnaryEntry) -> tuple[Owner, Subject] | None:
        """Return the party that still handles the RPC of `entry`, and the RPC; None if none does."""
        if self._by_thread.get(entry.ident) is not entry:
            return None
        for owner, _ in self._threads(frozenset([entry.ident])):
            return owner, Subject(owner.operation, SERVER, self._api)
        return None

    @property
    def api(self) -> str:
        return self._api

    def streams(self) -> HandledStreams:
        """Return what was noted and since when, by thread ident or id of the task."""
        compiled = which.compiled()
        found: HandledStreams
        if compiled is None:
            found = Handled()
            for task, entry in self._in_tasks().items():
                found.put(id(task), entry.what, entry.since)
        else:
            found = compiled.handled(self)
        for ident, entry in list(self._by_thread.items()):
            what = entry.stream()
            if isinstance(what, Stream):
                found.put(ident, what, entry.since)
            elif what is not None and not what.ended:
                found.put(ident, what.rpc, entry.since)
        return found

    def threads(self) -> Iterator[Owner]:
        """Yield the threads that handle RPCs now; ``operation`` is the RPC."""
        return (owner for owner, _ in self._threads()) if self._by_thread else iter(())

    def snapshot(self) -> tuple[Owner, ...]:
        """Return the parties that handle RPCs now, the longest first; ``operation`` is the RPC."""
        found = [*(owner for owner, _ in self._threads()), *self._tasks()]
        return tuple(sorted(found, key=lambda owner: -(owner.held_seconds or 0)))

    def _threads(self, only: frozenset[int] | None = None) -> Iterator[tuple[Owner, bool]]:
        """Yield the threads that handle an RPC now, and whether that RPC is over."""
        now = monotonic()  # the same for all, so that the order is that of arrival
        frames = frames_of_threads()
        try:
            for ident, entry in tuple(self._by_thread.items()):
                stream, frame = entry.stream(), frames.get(ident)
                if stream is None or stream.ended or frame is None:
                    continue
                if not self._is_inside(stream, frame):
                    continue
                if only is None or ident in only:
                    held = max(0.0, now - entry.since)
                    who = Owner(*name_of_thread(ident), stream.rpc, held, fold(outward(frame)))
                    yield who, stream.is_over()
        finally:
            frames.clear()  # this very frame may be in there

    def _is_inside(self, stream: Stream | UnaryEntry, frame: FrameType) -> bool:
        """Tell whether the thread at `frame`, which began to handle `stream`, still does."""
        return serves(frame)

    def _tasks(self) -> Iterator[Owner]:
        now = monotonic()
        for task, entry in self._in_tasks().items():
            if not task.done():
                what = entry.what
                rpc = what.rpc if isinstance(what, Stream) else what
                stack = fold(reversed(list(await_chain(task.get_coro()))))
                yield Owner("task", name_in_task(task), rpc, max(0.0, now - entry.since), stack)

    def _in_tasks(self) -> dict[asyncio.Task[Any], TaskEntry]:
        """Return what each task handles; the innermost, where a handler calls another one."""
        return {
            task: entry
            for entry in self.of_tasks()
            if (task := entry.task()) is not None and not getattr(entry.what, "ended", False)
        }

    # Starvation

    @never_disturbs("a server is not watched")
    def _watch(self) -> None:
        """Check again after some time, from a thread, whether the server is still full."""
        if self._watcher is not None and self._watcher.is_alive():
            return
        if has_idle_workers(None if self._pool is None else self._pool()):
            return
        interval = max(_SHORTEST, thresholds().starved_server_seconds)
        name = "grpc_guard starved-server"
        self._watcher = timer = Timer(interval, self._look, name, self._has_room)
        timer.start()

    def _has_room(self) -> bool:
        pool = None if self._pool is None else self._pool()
        return pool is None or has_idle_workers(pool)

    @never_disturbs("a starved server goes unnoticed")
    def _look(self) -> None:
        self._watcher = None  # from here on, the handler that fills the server has it watched again
        pool = None if self._pool is None else self._pool()
        if pool is None or len(list(self._threads())) < self._size:
            return
        waiting = waiting_in_pool(pool)  # first: the threads that are reported were in use then
        workers = idents_of_workers(pool)
        found = sorted(self._threads(workers), key=lambda one: -(one[0].held_seconds or 0))
        held = [owner for owner, _ in found]
        seen = Starved(held, waiting, [is_over for _, is_over in found])
        # A pool registers a thread only some time after the thread has begun to work.
        is_full = len(held) >= self._size
        least = thresholds().starved_server_seconds
        if not is_full or nobody_waits(seen) or (held[-1].held_seconds or 0) < least:
            self._watch()
            return
        warn(seen, Subject(held[0].operation, SERVER, self._api), caller=held[0])


class AioHandlers(Handlers):
    """The handlers of a grpc.aio server: coroutines are tasks, sync ones run in a thread pool.

    The pool is the one that the server was given, or else the default executor of its loop.
    """

    _api = AIO

    def __init__(self, pool: Executor | None, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(pool)
        self._loop = None if loop is None or pool is not None else weakref.ref(loop)

    # A thread of the pool. gRPC calls a handler that streams its responses on the thread of the loop:
    # that call only makes their iterator, which is advanced in the pool, see enter_at_first_step().

    def enter(self, stream: Stream, context: Any = None, /) -> None:
        """See InFlight; `context` tells nothing here."""
        if running_loop() is None:
            self._find_pool()
            super().enter(stream)

    def enter_unary(self, rpc: str, context: Any = None, /) -> UnaryEntry:
        """See InFlight; `context` tells nothing here."""
        if running_loop() is not None:
            return UnaryEntry(rpc)
        self._find_pool()
        return super().enter_unary(rpc)

    def _find_pool(self) -> None:
        loop = None if self._loop is None else self._loop()
        if loop is not None:  # its default executor is made at the first use, and may change
            pool = default_executor(loop)
            if isinstance(pool, ThreadPoolExecutor):
                self._pool = weakref.ref(pool)
                self._size = size_of_pool(pool)

    def _is_inside(self, stream: Stream | UnaryEntry, frame: FrameType) -> bool:
        # Between two steps the thread waits, in code of gRPC that has no frames, until the client
        # has taken the message. Meanwhile the response iterator is alive.
        is_between = stream.write is not None and not is_worker(frame)
        return serves_from_pool(frame) or is_between


def handlers_of(server: Any) -> Handlers:
    """Return the records of a plain server, the same each time."""
    try:
        known = _of_servers.get(server)
        return _of_servers.setdefault(server, _new_records(server)) if known is None else known
    except TypeError:  # an application's own server class, which cannot be held weakly
        return Handlers(None)


def records_of_state(state: Any) -> Handlers | None:
    """Return the records of the sync server whose state is `state`, if there are any."""
    for server, records in items_of(_of_servers):
        if getattr(server, "_state", None) is state:
            return records
    return None


def made(server: Any, operation: str) -> None:
    """Note that `operation` makes a plain `server` here; a second note changes nothing."""
    records = handlers_of(server)
    if records.origin is None:
        records.origin = note_origin(operation)


def servers() -> list[tuple[Any, Handlers]]:
    """Return the plain servers of this process that are guarded, and their records."""
    return list(items_of(_of_servers))


def _new_records(server: Any) -> Handlers:
    pool = executor_of_server(server)
    if not is_aio_server(server):
        return Handlers(pool)
    records = AioHandlers(pool, loop_of(server))
    uses_aio(server, records)
    never_stopped.watch()
    return records
