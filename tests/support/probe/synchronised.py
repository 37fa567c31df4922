"""Look-alikes of the racy programs: their parties come as near, but one waits for the other."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from support.probe.corpus import Corpus
from support.probe.scheduling import Stage
from support.staging import path

SYNCHRONISED = Corpus()

Start = Callable[[], Any]
TURNS = 8


def _taking_turns_with(stage: Stage, call: Any, lock: Any) -> None:
    def read() -> None:
        for _ in range(TURNS):
            with lock:
                next(call)
            stage.pause(0.005)

    stage.run(read, read)


@SYNCHRONISED.add("client", "sync")
def lock(stage: Stage, start: Start) -> None:
    """Two readers, a lock around each read."""
    _taking_turns_with(stage, start(), threading.Lock())


@SYNCHRONISED.add("client", "sync")
def rlock(stage: Stage, start: Start) -> None:
    """Two readers, a reentrant lock."""
    _taking_turns_with(stage, start(), threading.RLock())


@SYNCHRONISED.add("client", "sync")
def semaphore(stage: Stage, start: Start) -> None:
    """Two readers, a semaphore of one."""
    _taking_turns_with(stage, start(), threading.BoundedSemaphore(1))


@SYNCHRONISED.add("client", "sync")
def condition(stage: Stage, start: Start) -> None:
    """Two readers that pass the turn to each other by a condition."""
    call, turn, changed = start(), [0], threading.Condition()

    def read(me: int) -> None:
        for _ in range(TURNS):
            with changed:
                changed.wait_for(lambda: turn[0] == me)
            next(call)
            stage.pause(0.002)
            with changed:
                turn[0] = 1 - me
                changed.notify_all()

    stage.run(lambda: read(0), lambda: read(1))


@SYNCHRONISED.add("client", "sync")
def token_in_a_queue(stage: Stage, start: Start) -> None:
    """Two readers; the one that takes the token from a queue may read."""
    call, tokens = start(), queue.Queue[object]()
    tokens.put(object())

    def read() -> None:
        for _ in range(TURNS):
            token = tokens.get()
            next(call)
            tokens.put(token)
            stage.pause(0.005)

    stage.run(read, read)


@SYNCHRONISED.add("client", "sync")
def call_in_a_queue(stage: Stage, start: Start) -> None:
    """The head is read by one thread, which then hands the call over."""
    calls, handed = [start() for _ in range(TURNS)], queue.SimpleQueue[Any]()

    def head() -> None:
        for call in calls:
            next(call)
            handed.put(call)
            stage.pause(0.01)

    def rest() -> None:
        for _ in calls:
            next(handed.get())

    stage.run(head, rest)


@SYNCHRONISED.add("client", "sync")
def event(stage: Stage, start: Start) -> None:
    """The head is read by one thread, which says so by an event."""
    calls = [(start(), threading.Event()) for _ in range(TURNS)]

    def head() -> None:
        for call, done in calls:
            next(call)
            stage.pause(0.005)
            done.set()

    def rest() -> None:
        for call, done in calls:
            done.wait()
            next(call)

    stage.run(head, rest)


@SYNCHRONISED.add("client", "sync")
def join(stage: Stage, start: Start) -> None:
    """Each message is read by a thread of its own, started when the one before has ended."""
    call = start()

    def read() -> None:
        next(call)

    def one_after_the_other() -> None:
        for _ in range(TURNS):
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
            stage.pause(0.002)
            read()

    stage.run(one_after_the_other)


@SYNCHRONISED.add("client", "sync")
def future(stage: Stage, start: Start) -> None:
    """The messages are read by a pool, each when the one before is there."""
    call = start()

    def ask() -> None:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(TURNS):
                pool.submit(next, call).result()
                next(call)

    stage.run(ask)


@SYNCHRONISED.add("client", "sync")
def single_reader(stage: Stage, start: Start) -> None:
    """One thread reads, others work on what it hands them."""
    call, work = start(), queue.Queue[Any]()

    def read() -> None:
        for _ in range(TURNS):
            work.put(next(call))
            stage.pause(0.005)
        work.put(None)

    def consume() -> None:
        while work.get() is not None:
            pass

    stage.run(read, consume)


@SYNCHRONISED.add("server", "sync")
def handler_with_a_lock(stage: Stage, requests: Iterator[bytes], context: Any) -> None:
    """A handler and its thread read the requests, a lock around each read."""
    _taking_turns_with(stage, requests, threading.Lock())


async def _taking_turns_in(
    stage: Stage, operate: Callable[[], Any], lock: Any, then: float = 0.005
) -> None:
    async def party() -> None:
        for _ in range(TURNS):
            async with lock:
                await operate()
            await stage.pause_async(then)

    await stage.run_async(party, party)


@SYNCHRONISED.add("client", "aio")
async def aio_lock(stage: Stage, channel: Any) -> None:
    """Two tasks that read, a lock around each read."""
    await _taking_turns_in(stage, channel.unary_stream(path("Count"))(b"").read, asyncio.Lock())


@SYNCHRONISED.add("client", "aio")
async def aio_semaphore(stage: Stage, channel: Any) -> None:
    """A heartbeat beside data, a semaphore around each write."""
    call = channel.stream_stream(path("Echo"))()
    await _taking_turns_in(stage, lambda: call.write(b"beat"), asyncio.Semaphore(1))


@SYNCHRONISED.add("client", "aio")
async def aio_queue(stage: Stage, channel: Any) -> None:
    """Heartbeat and data go through a queue to the one task that writes."""
    call, outgoing = channel.stream_stream(path("Echo"))(), asyncio.Queue[Any]()

    async def put() -> None:
        for _ in range(TURNS):
            outgoing.put_nowait(b"data")
            await stage.pause_async(0.005)
        outgoing.put_nowait(None)

    async def write() -> None:
        running = 2
        while running:
            message = await outgoing.get()
            if message is None:
                running -= 1
            else:
                await call.write(message)
        await call.done_writing()

    await stage.run_async(put, put, write)


@SYNCHRONISED.add("client", "aio")
async def aio_event(stage: Stage, channel: Any) -> None:
    """The send side is closed when an event says that all is written."""
    calls = [(channel.stream_stream(path("Echo"))(), asyncio.Event()) for _ in range(TURNS)]

    async def write() -> None:
        for call, done in calls:
            await call.write(b"one")
            await call.write(b"two")
            done.set()
            await stage.pause_async(0.005)

    async def close() -> None:
        for call, done in calls:
            await done.wait()
            await call.done_writing()

    await stage.run_async(write, close)


@SYNCHRONISED.add("client", "aio")
async def awaited_task(stage: Stage, channel: Any) -> None:
    """Each message is read by a task of its own, which is awaited before the next."""
    call = channel.unary_stream(path("Count"))(b"")

    async def one_after_the_other() -> None:
        for _ in range(TURNS):
            await asyncio.create_task(call.read())
            await call.read()

    await stage.run_async(one_after_the_other)


@SYNCHRONISED.add("client", "aio")
async def flag(stage: Stage, channel: Any) -> None:
    """Two tasks, and a flag that between two awaits only one can raise."""
    call = channel.unary_stream(path("Count"))(b"")
    is_reading = [False]

    async def read() -> None:
        for _ in range(2 * TURNS):
            if not is_reading[0]:
                is_reading[0] = True
                await call.read()
                is_reading[0] = False
            await stage.pause_async(0.005)

    await stage.run_async(read, read)


@SYNCHRONISED.add("client", "aio")
async def patient_wait_for(stage: Stage, channel: Any) -> None:
    """Two tasks that read, with a lock, each within a time-out that a delay must not use up."""
    call, lock = channel.unary_stream(path("Count"))(b"", timeout=30), asyncio.Lock()

    async def read() -> None:
        for _ in range(TURNS):
            async with lock:
                await asyncio.wait_for(call.read(), 0.3)
            await stage.pause_async(0.005)

    await stage.run_async(read, read)


@SYNCHRONISED.add("server", "aio")
async def handler_with_an_aio_lock(stage: Stage, requests: Any, context: Any) -> None:
    """A handler and its background task write, a lock around each write."""
    await _taking_turns_in(stage, lambda: context.write(b"result"), asyncio.Lock())


@SYNCHRONISED.add("server", "aio")
async def yield_when_written(stage: Stage, requests: Any, context: Any) -> AsyncIterator[bytes]:
    """A handler yields when its background task has written, and the other way round."""
    mine, its = asyncio.Event(), asyncio.Event()

    async def progress() -> None:
        for _ in range(TURNS):
            await its.wait()
            its.clear()
            await context.write(b"progress")
            mine.set()

    other = asyncio.create_task(progress())
    try:
        for _ in range(TURNS):
            yield b"result"
            its.set()
            await mine.wait()
            mine.clear()
    finally:
        other.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await other


yield_when_written.yields = True  # type: ignore[attr-defined]
