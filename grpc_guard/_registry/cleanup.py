"""The thread of a sync registry that does what a finaliser or a callback must not do."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

from .._catalogue.forks import start_clean
from .endings import lost, was_dropped
from .leases import LeaseRecord, LeaseState
from .pool import Pool
from .sync_lease import close_all, unsubscribe_all

logger = logging.getLogger("grpc_guard")


class Cleanup:
    """Closes channels that have been idle long enough, and records leases that were not closed.

    Its thread runs while there are channels, and knows the pool, not the registry: a dropped
    registry is collected with its stubs, and its pool becomes empty.
    """

    def __init__(
        self, *, max_streams: int | None, idle_seconds: float | None, make: Callable[[Any], Any]
    ) -> None:
        self.after_fork()
        self.pool = Pool(
            max_streams=max_streams,
            idle_seconds=idle_seconds,
            make=make,
            wake=self.wake,
            on_entry=self._come,
        )
        start_clean(self)

    def after_fork(self) -> None:
        """Forget the thread, which stayed in the parent."""
        self._mutex = threading.RLock()  # start and end of the thread, never across its work
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    def wake(self, _: object = None) -> None:
        """Have the notes processed soon. A finaliser may call it: this queue is reentrant."""
        self._bell.put(None)

    def _come(self) -> None:
        """Start the thread that cleans up, unless it runs already.

        It is started while no lock is held: the collector may run in it before it has reported its
        start, and a finaliser that asks for a lease then would wait for the thread that starts it.
        """
        with self._mutex:
            if self.thread is not None:
                return
            thread = self.thread = threading.Thread(
                target=self._work, name="grpc_guard-cleanup", daemon=True
            )
        try:
            thread.start()
            self.wake()  # the registry may have been closed meanwhile
        except RuntimeError:  # no more threads, or the interpreter shuts down
            self.thread = None
            logger.exception("idle channels are not closed before their registry is")
        except BaseException:  # it may have started: then it reports that itself
            self.thread = None
            raise

    def _work(self) -> None:
        with self._mutex:
            if self.thread is None:  # the start was interrupted
                self.thread = threading.current_thread()
            if self.thread is not threading.current_thread():
                return
        seconds: float | None = None
        while True:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=seconds)
            seconds = self._clean_up()
            if seconds is None and self._leaves():
                return

    def _clean_up(self) -> float | None:
        leases, connections, seconds = self.pool.clean_up()
        for lease in leases:
            _quietly(_let_go, lease)
        for connection in connections:
            _quietly(functools.partial(close_all, self.pool), [connection])
            self.pool.closed_one(connection)  # or it cannot be closed: not tried for ever
        return seconds

    def _leaves(self) -> bool:
        with self._mutex:
            if self.pool.is_empty:
                self.thread = None
                return True
            return False


def _let_go(lease: LeaseRecord) -> None:
    unsubscribe_all(lease)
    if lease.state is LeaseState.CLOSING:  # its close() was interrupted
        lease.cancel_rpcs()
    if was_dropped(lease):
        lost(lease, "sync")


def _quietly(close: Callable[[Any], object], thing: Any) -> None:
    """Close one thing; an error must not keep the others from being closed."""
    try:
        close(thing)
    except Exception:  # in a thread of the guard's own, where no signal handler runs
        logger.exception("a channel could not be closed")
