"""The probe at the operations of one direction: it finds place and party, and waits.

Only directions of streams that start while the probe is on have a Watch; operations of other
streams run none of this code. The probe delays an operation after it has claimed its direction and
before it reaches grpcio. So a caller that comes during the delay really overlaps it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import sys
import threading
import time
from _thread import allocate_lock
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import FrameType
from typing import Any
from weakref import ref

from .._catalogue.boundary import overlooked
from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import running_loop
from .._core.operations import asked_at
from .._core.relay import Relay
from .._core.stream import Stream
from .._findings import wording
from .._findings.whose import LIBRARY, LOOP, PROGRAM, whose
from .cancelling import Cancelled
from .limits import is_finalising, is_timeout, time_left, until_timeout
from .pairs import Place
from .policy import ProbedOperation, ProbePolicy

_parties = itertools.count(1)


class _Thread(threading.local):
    """A number for each thread: idents are reused."""

    party = 0


_thread = _Thread()


def _new_party() -> int:
    _thread.party = next(_parties)
    return _thread.party


def _sleep(seconds: float) -> None:
    time.sleep(seconds)  # looked up now: gevent may have replaced it


_UNKNOWN: tuple[object, int, Place] = (None, 0, Place("", 0, ""))


class Prober:
    """What the watches of a process share: the core, the clock, and how to wait."""

    def __init__(
        self,
        core: ProbePolicy,
        *,
        clock: Callable[[], float] = monotonic,
        sleep: Callable[[float], None] = _sleep,
        sleep_async: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self.core = core
        self.clock = clock
        self.sleep = sleep
        self.sleep_async = sleep_async
        # No operation waits for it: one that finds it taken goes on without learning. So an
        # interrupt that leaves it taken only silences the probe.
        self.mutex = allocate_lock()

    def watch(self, stream: Stream, step: Any) -> Watch:
        return Watch(self, stream, getattr(step, "__self__", None))


class Watch:
    """The probe's view of one direction. It must not hold the direction, whose step holds this."""

    __slots__ = ("_is_aio", "_known", "_object", "_prober", "_stream", "_track")

    def __init__(self, prober: Prober, stream: Stream, obj: object) -> None:
        self._prober = prober
        self._stream = stream
        self._object = obj  # the step is a method of it: it lives as long as the direction
        self._track = prober.core.track()
        self._known = _UNKNOWN  # where the latest operation came from, and its place
        self._is_aio = stream.loop is not None

    def watching(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return `step`, watched, and sometimes held back."""
        return self._in_task(step) if self._is_aio else self._in_thread(step)

    def _in_thread(self, step: Callable[..., Any]) -> Callable[..., Any]:
        arrive, track, clock = self._arrive, self._track, self._prober.clock

        def watched(*args: Any) -> Any:
            visit = arrive(asked_at(sys._getframe(1)))
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
                if visit is not None:
                    visit.ended = clock()
                    track.last, track.current = visit, None

        return watched

    def _in_task(self, step: Callable[..., Any]) -> Callable[..., Any]:
        arrive, track, clock = self._arrive, self._track, self._prober.clock

        async def watched(*args: Any) -> Any:
            visit = arrive(asked_at(sys._getframe(1)))
            try:
                if visit is not None and visit.delay:
                    try:
                        await self._hold(visit)
                    except asyncio.CancelledError as cancellation:
                        return await Cancelled(step(*args), cancellation)
                return await step(*args)
            except BaseException as error:
                self._failed(visit, error)
                raise
            finally:
                if visit is not None:
                    visit.ended = clock()
                    track.last, track.current = visit, None

        return watched

    async def yields(self, responses: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
        """Pass on, sometimes delayed, what a guarded handler yields while it owns the direction."""
        track, clock = self._track, self._prober.clock
        async with contextlib.aclosing(responses):
            relay = Relay(responses)
            async for message in relay:
                visit = self._arrive(self._yielding())
                try:
                    if visit is not None and visit.delay:
                        await self._hold(visit)  # a cancellation there acts as in gRPC's own write
                    with relay:  # an interceptor may throw something in
                        relay.sent = yield message
                finally:
                    if visit is not None:
                        visit.ended = clock()
                        track.last, track.current = visit, None

    def _yielding(self) -> FrameType | None:
        """Return the frame of the user's async generator, which no caller's frame leads to."""
        handler = self._stream.handler
        generator = None if handler is None else handler[1]()
        return None if generator is None else generator.ag_frame

    async def _hold(self, visit: ProbedOperation) -> None:
        visit.is_held = True
        try:
            await self._prober.sleep_async(visit.delay)
        finally:
            visit.is_held = False

    def collided(self, frame: FrameType) -> str:
        """Return what a report says about the probe's part in the collision at `frame`."""
        try:
            prober = self._prober
            if not prober.mutex.acquire(False):
                return ""
            try:
                place = self._find_place(frame)
                held = prober.core.collide(self._track, place, self._party())
            finally:
                prober.mutex.release()
        except Exception as error:
            if not overlooked(error, "the probe failed; the finding is kept"):
                raise
            return ""
        return "" if held is None else wording.held_by_probe(*held)

    # Around an operation

    def _arrive(self, frame: FrameType | None) -> ProbedOperation | None:
        """Begin a visit from `frame`; None if it was let through beside the owner's."""
        try:
            prober, track = self._prober, self._track
            code, instruction, place = self._known
            if frame is None or frame.f_code is not code or frame.f_lasti != instruction:
                place = self._place(frame)
            party = self._party()
            current, last = track.current, track.last
            if current is not None and current.party != party:
                return None
            if last is not None and prober.core.is_repeated(last, place, party):
                track.current = last  # the same again, and nothing to learn: the usual case
                return last
            visit = ProbedOperation(place, party)
            if prober.core.concerns(track, visit) and prober.mutex.acquire(False):
                try:
                    visit.delay = prober.core.arrive(
                        track, visit, prober.clock(), lambda: self._allowance(frame)
                    )
                finally:
                    prober.mutex.release()
            track.current = visit
        except Exception as error:
            if not overlooked(error, "the probe failed; the operation goes on without it"):
                raise
            return None
        return visit

    def _failed(self, visit: ProbedOperation | None, error: BaseException) -> None:
        """Note it if a delay may have cost a deadline, or a time-out that cancels."""
        if visit is not None and visit.delay and is_timeout(error):
            self._prober.core.interrupted(visit)

    def _party(self) -> object:
        if not self._is_aio:
            return _thread.party or _new_party()
        task = asyncio.current_task(self._stream.loop)
        return None if task is None else ref(task)

    def _place(self, frame: FrameType | None) -> Place:
        place = self._find_place(frame)
        if frame is not None and whose(frame) is PROGRAM:
            self._known = frame.f_code, frame.f_lasti, place
        return place

    def _find_place(self, frame: FrameType | None) -> Place:
        """Return the first line of the program from `frame` outward, or else of a library."""
        second_best: Place | None = None
        while frame is not None:
            kind = whose(frame)
            if kind is PROGRAM:
                return _place_at(frame)
            if kind is LOOP and self._is_aio:
                break  # frames beyond it are not this task's
            if kind is LIBRARY:
                second_best = second_best or _place_at(frame)
            frame = frame.f_back
        yielding = self._yielding()
        if yielding is not None:
            return _place_at(yielding)
        return second_best or Place("", 0, self._stream.rpc)

    def _allowance(self, frame: FrameType | None) -> float:
        stream = self._stream
        if stream.is_over():
            return 0.0
        left = math.inf
        running = running_loop()
        if self._is_aio:
            task = _running_task()
            if running is not stream.loop or task is None:
                return 0.0
            left = until_timeout(task)
        elif running is not None or is_finalising(frame):
            return 0.0  # it would stop the loop of this thread
        left = min(left, time_left((self._object, stream.call())))
        return left * self._prober.core.settings.share


def _place_at(frame: FrameType) -> Place:
    return Place(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_code.co_name)


def _running_task() -> asyncio.Task[Any] | None:
    return asyncio.current_task() if running_loop() is not None else None
