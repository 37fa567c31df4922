"""The streaming handlers of a server that are in flight, and whether they starve it.

Each server has its own records. They hold threads by their ident and tasks weakly.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from _thread import get_ident
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from time import monotonic
from types import FrameType
from typing import Any

from .._catalogue.boundary import never_disturbs
from .._catalogue.cpython import (
    frames_of_threads,
    has_idle_workers,
    idents_of_workers,
    is_worker,
    size_of_pool,
    waiting_in_pool,
)
from .._catalogue.cpython_loops import default_executor, running_loop
from .._catalogue.grpcio import executor_of_server, is_aio_server, loop_of
from .._catalogue.nouns import AIO, SERVER, SYNC, Subject
from .._catalogue.rules.starved_server import Starved, nobody_waits
from .._catalogue.thresholds import thresholds
from .._core.steps import IteratorFromFunction
from .._core.stream import Stream
from .._findings.parties import name_of_thread
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import fold, outward
from .._findings.waiters import await_chain
from .._findings.whose import is_of_grpc

_SHORTEST = 0.01  # seconds between two looks at a server that is full

_of_servers: weakref.WeakKeyDictionary[object, Handlers] = weakref.WeakKeyDictionary()


class _Entry:
    """A handler in flight: its stream, since when, and the thread or task that runs it."""

    __slots__ = ("since", "stream", "task")

    def __init__(self, stream: Stream, task: Any = None) -> None:
        self.stream = weakref.ref(stream)
        self.since = monotonic()
        self.task = None if task is None else weakref.ref(task)


class Handlers:
    """The streaming handlers of one server that are in flight."""

    _api = SYNC

    def __init__(self, pool: Executor | None) -> None:
        if not isinstance(pool, ThreadPoolExecutor):
            pool = None  # one that does not say what it does
        self._pool = None if pool is None else weakref.ref(pool)
        self._size = size_of_pool(pool)
        # A thread runs one handler at a time: the next one takes the place of the last.
        self._by_thread: dict[int, _Entry] = {}
        self._by_task: weakref.WeakKeyDictionary[Any, _Entry] = weakref.WeakKeyDictionary()
        self._watcher: threading.Thread | None = None

    def enter(self, stream: Stream) -> None:
        """Note that the running thread begins to handle `stream`."""
        self._by_thread[get_ident()] = _Entry(stream)
        if 0 < self._size <= len(self._by_thread):  # only a first, quick look
            self._watch()

    def enter_at_first_step(self, stream: Stream) -> None:
        """Note it of the thread that takes the first step of the responses of `stream`."""
        responses: Any = stream.write
        iterator = responses.iterator

        def first_step() -> Any:  # must not hold the direction: see Direction.counted
            responses: Any = stream.write
            responses.iterator = iterator
            self.enter(stream)
            return iterator.__next__()

        responses.iterator = IteratorFromFunction(first_step)

    def enter_task(self, stream: Stream) -> None:
        """Note that the running task begins to handle `stream`."""
        task = asyncio.current_task()
        if task is not None:
            self._by_task[task] = _Entry(stream, task)

    @property
    def api(self) -> str:
        return self._api

    def streams(self) -> dict[int, tuple[Stream, float]]:
        """Return the streams that were noted and since when, by thread ident or id of the task."""
        entries = [*self._by_thread.items()]
        entries += [(id(task), entry) for task, entry in tuple(self._by_task.items())]
        found = ((key, entry.stream(), entry.since) for key, entry in entries)
        return {key: (stream, since) for key, stream, since in found if stream is not None}

    def threads(self) -> Iterator[Owner]:
        """Yield the threads that handle streams now; ``operation`` is the RPC."""
        return self._threads() if self._by_thread else iter(())

    def snapshot(self) -> tuple[Owner, ...]:
        """Return who handles streams now, the longest first; ``operation`` is the RPC."""
        found = [*self._threads(), *self._tasks()]
        return tuple(sorted(found, key=lambda owner: -(owner.held_seconds or 0)))

    def _threads(self, only: frozenset[int] | None = None) -> Iterator[Owner]:
        frames = frames_of_threads()
        try:
            for ident, entry in tuple(self._by_thread.items()):
                stream, frame = entry.stream(), frames.get(ident)
                if stream is None or stream.ended or frame is None:
                    continue
                if not self._is_inside(stream, frame):
                    continue
                if only is None or ident in only:
                    held = max(0.0, monotonic() - entry.since)
                    yield Owner(*name_of_thread(ident), stream.rpc, held, fold(outward(frame)))
        finally:
            frames.clear()  # this very frame may be in there

    def _is_inside(self, stream: Stream, frame: FrameType) -> bool:
        """Tell whether the thread at `frame`, which began to handle `stream`, still does."""
        return _serves(frame)

    def _tasks(self) -> Iterator[Owner]:
        for task, entry in tuple(self._by_task.items()):
            stream = entry.stream()
            if stream is not None and not stream.ended and not task.done():
                held = max(0.0, monotonic() - entry.since)
                stack = fold(reversed(list(await_chain(task.get_coro()))))
                yield Owner("task", task.get_name(), stream.rpc, held, stack)

    # Starvation

    @never_disturbs("a server is not watched")
    def _watch(self) -> None:
        """Look again in a while, from a thread, whether the server is still full."""
        if self._watcher is not None and self._watcher.is_alive():
            return
        if has_idle_workers(None if self._pool is None else self._pool()):
            return
        interval = max(_SHORTEST, thresholds().starved_server_seconds)
        timer = threading.Timer(interval, self._look)
        timer.name = "grpc_guard starved-server"
        timer.daemon = True
        self._watcher = timer
        timer.start()

    @never_disturbs("a starved server goes unnoticed")
    def _look(self) -> None:
        self._watcher = None  # from here on, who fills the server has it watched again
        pool = None if self._pool is None else self._pool()
        if pool is None:
            return
        workers = idents_of_workers(pool)
        held = sorted(self._threads(workers), key=lambda owner: -(owner.held_seconds or 0))
        if len(held) < self._size:
            return
        least = held[-1].held_seconds or 0
        seen = Starved(held, waiting_in_pool(pool))
        if nobody_waits(seen) or least < thresholds().starved_server_seconds:
            self._watch()
            return
        warn(seen, Subject(held[0].operation, SERVER, self._api), caller=held[0])


class AioHandlers(Handlers):
    """Those of a server of grpc.aio: coroutines are tasks, sync ones run in a thread pool.

    That is the one that the server was given, or else the default executor of its loop.
    """

    _api = AIO

    def __init__(self, pool: Executor | None, loop: asyncio.AbstractEventLoop | None) -> None:
        super().__init__(pool)
        self._loop = None if loop is None or pool is not None else weakref.ref(loop)

    def enter(self, stream: Stream) -> None:
        """Note that the running thread begins to handle `stream`, if it is one of the pool.

        On the thread of the loop gRPC calls a handler that streams its responses. That only
        makes their iterator, which is advanced in the pool: see enter_at_first_step().
        """
        if running_loop() is None:
            self._find_pool()
            super().enter(stream)

    def _find_pool(self) -> None:
        loop = None if self._loop is None else self._loop()
        if loop is not None:  # its executor is made when it is first needed, and may change
            pool = default_executor(loop)
            if isinstance(pool, ThreadPoolExecutor):
                self._pool = weakref.ref(pool)
                self._size = size_of_pool(pool)

    def _is_inside(self, stream: Stream, frame: FrameType) -> bool:
        # Between two steps it waits, in code of gRPC that has no frames, until the client has
        # taken the message. Then the response iterator is alive.
        is_between = stream.write is not None and not is_worker(frame)
        return super()._is_inside(stream, frame) or is_between


def _serves(frame: FrameType) -> bool:
    """Tell whether the thread at `frame` is inside a handler: an idle one is in no code of gRPC."""
    return any(is_of_grpc(outer) for outer in outward(frame))


def handlers_of(server: Any) -> Handlers:
    """Return the records of a plain server, the same each time."""
    try:
        known = _of_servers.get(server)
        return _of_servers.setdefault(server, _new_records(server)) if known is None else known
    except TypeError:  # a server of the application's own kind, which cannot be held weakly
        return Handlers(None)


def servers() -> list[tuple[Any, Handlers]]:
    """Return the plain servers of this process that are guarded, and their records."""
    return list(_of_servers.items())


def _new_records(server: Any) -> Handlers:
    pool = executor_of_server(server)
    return AioHandlers(pool, loop_of(server)) if is_aio_server(server) else Handlers(pool)
