"""The probe at the operations of one direction: finds place and party, and does the waiting.

Only directions of streams that start while probing have a Watch; the others' operations
pass nothing of this. Held back is an operation after its direction was claimed and before
grpcio is reached: whoever comes meanwhile meets it for real.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import sys
import threading
import time
from _thread import allocate_lock
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from time import monotonic
from types import FrameType
from typing import Any
from weakref import ref

from .. import _messages
from .._guard import Stream
from .._stacks import is_machinery, runs_loop
from .core import Core, Visit
from .limits import is_finalising, time_left, until_timeout
from .pairs import Place

logger = logging.getLogger("grpc_guard")

_parties = itertools.count(1)


class _Thread(threading.local):
    """A number for each thread: idents are recycled."""

    party = 0


_thread = _Thread()


def _this_thread() -> int:
    if not _thread.party:
        _thread.party = next(_parties)
    return _thread.party


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # looked up now: gevent may have replaced it


_ends_walk: dict[
    str, bool | None
] = {}  # file -> whether to stop there: None where it is the user's


def _verdict(file: str) -> bool | None:
    verdict = runs_loop(file) if is_machinery(file) else None
    _ends_walk[file] = verdict
    return verdict


class Prober:
    """What the watches of a process share: the core, and how to tell time and to wait."""

    def __init__(
        self,
        core: Core,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], None] = _sleep,
        sleep_async: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self.core = core
        self.clock = clock
        self.sleep = sleep
        self.sleep_async = sleep_async
        # Never waited for: who finds it taken goes on without learning. So an interrupt
        # that leaves it taken silences the probe, and hurts nobody.
        self.mutex = allocate_lock()

    def watch(self, stream: Stream, step: Any) -> Watch:
        return Watch(self, stream, getattr(step, "__self__", None))


class Watch:
    """The probe's view of one direction. Must not hold it: its step holds this."""

    __slots__ = ("_is_aio", "_object", "_prober", "_stream", "_track")

    def __init__(self, prober: Prober, stream: Stream, obj: object) -> None:
        self._prober = prober
        self._stream = stream
        self._object = obj  # what the step is a method of: it lives as long as the direction
        self._track = prober.core.track()
        self._is_aio = stream.loop is not None

    def watching(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return `step`, watched and now and then held back."""
        return self._in_task(step) if self._is_aio else self._in_thread(step)

    def _in_thread(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            visit = self._arrive(sys._getframe(1))
            try:
                if visit is not None and visit.delay:
                    visit.is_held = True
                    self._prober.sleep(visit.delay)
                    visit.is_held = False
                return step(*args)
            except BaseException as error:
                self._failed(visit, error)
                raise
            finally:
                self._leave(visit)

        return watched

    def _in_task(self, step: Callable[..., Any]) -> Callable[..., Any]:
        async def watched(*args: Any) -> Any:
            visit = self._arrive(sys._getframe(1))
            try:
                if visit is not None and visit.delay:
                    try:
                        await self._hold(visit)
                    except asyncio.CancelledError as cancellation:
                        return await _Cancelled(step(*args), cancellation)
                return await step(*args)
            except BaseException as error:
                self._failed(visit, error)
                raise
            finally:
                self._leave(visit)

        return watched

    async def yields(self, responses: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        """Pass on what a guarded handler yields, which it owns the direction for, held back."""
        step: Awaitable[Any] = responses.__anext__()
        while True:
            try:
                message = await step
            except StopAsyncIteration:
                return
            visit = self._arrive(None)
            try:
                if visit is not None and visit.delay:
                    await self._hold(visit)  # cancelled there, it is as in gRPC's own write
                try:
                    step = responses.asend((yield message))
                except GeneratorExit:
                    await responses.aclose()
                    raise
                except BaseException as thrown:  # by an interceptor
                    step = responses.athrow(thrown)
            finally:
                self._leave(visit)

    async def _hold(self, visit: Visit) -> None:
        visit.is_held = True
        await self._prober.sleep_async(visit.delay)
        visit.is_held = False

    def collided(self, frame: FrameType) -> str:
        """Return what a report says of the probe's part in a collision that `frame` ran into."""
        try:
            prober = self._prober
            if not prober.mutex.acquire(False):
                return ""
            try:
                held = prober.core.collide(self._track, self._place(frame), self._party())
            finally:
                prober.mutex.release()
        except Exception:
            logger.exception("the probe failed; the finding is kept")
            return ""
        return "" if held is None else _messages.held_by_probe(*held)

    # Around an operation

    def _arrive(self, frame: FrameType | None) -> Visit | None:
        """Begin a visit; None for an operation that was let through beside the owner's."""
        try:
            prober, track = self._prober, self._track
            visit = Visit(self._place(frame), self._party())
            current = track.current
            if current is not None and current.party != visit.party:
                return None
            if prober.core.concerns(track, visit) and prober.mutex.acquire(False):
                try:
                    visit.delay = prober.core.arrive(
                        track, visit, prober.clock(), lambda: self._allowance(frame)
                    )
                finally:
                    prober.mutex.release()
            track.current = visit
        except Exception:
            logger.exception("the probe failed; the operation goes on without it")
            return None
        return visit

    def _leave(self, visit: Visit | None) -> None:
        if visit is not None:
            visit.ended = self._prober.clock()
            visit.is_held = False
            self._track.last = visit
            self._track.current = None

    def _failed(self, visit: Visit | None, error: BaseException) -> None:
        """Note it if a delay may have cost a deadline, or a time-out that cancels."""
        if visit is not None and visit.delay and _is_timeout(error):
            self._prober.core.interrupted(visit)

    def _party(self) -> object:
        if not self._is_aio:
            return _this_thread()
        task = _running_task()
        return None if task is None else ref(task)

    def _place(self, frame: FrameType | None) -> Place:
        """Return the first line of the program from `frame` outward."""
        while frame is not None:
            file = frame.f_code.co_filename
            verdict = _ends_walk[file] if file in _ends_walk else _verdict(file)
            if verdict is None:
                return Place(file, frame.f_lineno or 0, frame.f_code.co_name)
            if verdict and self._is_aio:
                break  # the loop: beyond it is nothing of this task
            frame = frame.f_back
        handler = self._stream.handler
        generator = None if handler is None else handler[1]()
        if generator is not None and generator.ag_frame is not None:
            frame = generator.ag_frame  # its yield
            return Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)
        return Place("", 0, self._stream.rpc)

    def _allowance(self, frame: FrameType | None) -> float:
        stream = self._stream
        if stream.is_over():
            return 0.0
        left = math.inf
        running = asyncio._get_running_loop()
        if self._is_aio:
            task = _running_task()
            if running is not stream.loop or task is None:
                return 0.0
            left = until_timeout(task)
        elif running is not None or is_finalising(frame):
            return 0.0  # the loop of this thread would stand still
        left = min(left, time_left((self._object, stream.call)))
        return left * self._prober.core.settings.share


def _running_task() -> asyncio.Task[Any] | None:
    return asyncio.current_task() if asyncio._get_running_loop() is not None else None


def _is_timeout(error: BaseException) -> bool:
    if isinstance(error, (asyncio.CancelledError, TimeoutError, asyncio.TimeoutError)):
        return True
    code = getattr(error, "code", None)
    return callable(code) and getattr(code(), "name", None) == "DEADLINE_EXCEEDED"


class _Cancelled:
    """An operation that is begun, and cancelled at once.

    What a task that is cancelled during a delay would have met without the delay: on a client
    that ends the RPC, and grpcio alone knows how.
    """

    def __init__(self, operation: Awaitable[Any], cancellation: asyncio.CancelledError) -> None:
        self._operation = operation
        self._cancellation = cancellation

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._operation.__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            raise self._cancellation from None
        if waits_for is not None:
            waits_for.cancel()
        try:
            yield steps.throw(self._cancellation)
        except StopIteration as result:
            return result.value
        return (yield from steps)
