"""Programs with a latent race: their parties keep apart by timing alone, as a rule they do."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from support.probe.corpus import Corpus
from support.probe.scheduling import Stage
from support.staging import path

RACY = Corpus()


# Sync clients


@RACY.add("client", "sync")
def readers_take_turns(stage: Stage, start: Callable[[], Any]) -> None:
    """Two threads read every 40 ms, one 20 ms after the other."""
    call = start()

    def read(offset: float) -> None:
        stage.pause(offset)
        for _ in range(5):
            next(call)
            stage.pause(0.04)

    stage.run(functools.partial(read, 0), functools.partial(read, 0.02))


@RACY.add("client", "sync")
def hand_over_by_sleep(stage: Stage, start: Callable[[], Any]) -> None:
    """A thread reads the head of each stream; another knows when it will be done."""
    for _ in range(5):
        call = start()

        def head() -> None:
            next(call)
            next(call)

        def rest() -> None:
            stage.pause(0.03)
            next(call)

        stage.run(head, rest)


@RACY.add("client", "sync")
def leftovers_after_a_while(stage: Stage, start: Callable[[], Any]) -> None:
    """A worker stops by a flag that it looks at now and then; the rest is drained soon after."""
    for _ in range(4):
        call, stopped = start(), threading.Event()

        def work() -> None:
            next(call)
            stage.pause(0.02)
            while not stopped.is_set():
                next(call)
                stage.pause(0.03)

        def drain() -> None:
            stage.pause(0.04)
            stopped.set()
            stage.pause(0.02)
            next(call)

        stage.run(work, drain)


@RACY.add("client", "sync")
def polls_of_two_rates(stage: Stage, start: Callable[[], Any]) -> None:
    """A fast poll and a slow one of the same stream."""
    call = start()

    def poll(first: float, every: float, times: int) -> None:
        stage.pause(first)
        for _ in range(times):
            next(call)
            stage.pause(every)

    stage.run(
        functools.partial(poll, 0.01, 0.03, 9),
        functools.partial(poll, 0.025, 0.09, 3),
    )


@RACY.add("client", "sync")
def pool_without_a_lock(stage: Stage, start: Callable[[], Any]) -> None:
    """Every 25 ms a pool is asked for one message: its threads take turns by luck."""
    call = start()
    names = iter(range(99))

    def ask(offset: float) -> None:
        # Each party submits to a pool of its own: together they are the pool's threads.
        with ThreadPoolExecutor(1, thread_name_prefix=f"pool-{next(names)}") as pool:
            stage.pause(offset)
            for _ in range(4):
                pool.submit(next, call).result()
                stage.pause(0.05)

    stage.run(functools.partial(ask, 0), functools.partial(ask, 0.025))


# Aio clients


@RACY.add("client", "aio")
async def tasks_take_turns(stage: Stage, channel: Any) -> None:
    """Two tasks read every 40 ms, one 20 ms after the other."""
    call = channel.unary_stream(path("Count"))(b"")

    async def read(offset: float) -> None:
        await stage.pause_async(offset)
        for _ in range(5):
            await call.read()
            await stage.pause_async(0.04)

    await stage.run_async(functools.partial(read, 0), functools.partial(read, 0.02))


@RACY.add("client", "aio")
async def heartbeat(stage: Stage, channel: Any) -> None:
    """A task writes what there is, another a heartbeat."""
    call = channel.stream_stream(path("Echo"))()

    async def data() -> None:
        for _ in range(6):
            await call.write(b"data")
            await stage.pause_async(0.04)

    async def beat() -> None:
        await stage.pause_async(0.02)
        for _ in range(3):
            await call.write(b"beat")
            await stage.pause_async(0.08)

    await stage.run_async(data, beat)


@RACY.add("client", "aio")
async def half_close_after_timed_writes(stage: Stage, channel: Any) -> None:
    """One task writes, another closes the send side when that must be over."""
    for _ in range(5):
        call = channel.stream_stream(path("Echo"))()

        async def write() -> None:
            await call.write(b"one")
            await stage.pause_async(0.02)
            await call.write(b"two")

        async def close() -> None:
            await stage.pause_async(0.04)
            await call.done_writing()

        await stage.run_async(write, close)


@RACY.add("client", "aio")
async def for_loop_beside_a_peek(stage: Stage, channel: Any) -> None:
    """A task consumes with ``async for``; another now and then takes the next message."""
    call = channel.unary_stream(path("Count"))(b"")
    stream = call.__aiter__()

    async def consume() -> None:
        taken = 0
        async for _ in stream:
            taken += 1
            if taken == 7:
                return
            await stage.pause_async(0.03)

    async def peek() -> None:
        for _ in range(3):
            await stage.pause_async(0.075)
            await stream.__anext__()

    await stage.run_async(consume, peek)


@RACY.add("client", "aio")
async def start_up_once(stage: Stage, channel: Any) -> None:
    """A greeting is read by one task, the rest by another that is started later. Once."""
    call = channel.unary_stream(path("Count"))(b"")

    async def greeting() -> None:
        await call.read()

    async def rest() -> None:
        await stage.pause_async(0.03)
        await call.read()

    await stage.run_async(greeting, rest)


# Sync servers


@RACY.add("server", "sync")
def handler_beside_its_thread(stage: Stage, requests: Iterator[bytes], context: Any) -> None:
    """A handler reads requests, and so does a thread that it has started."""

    def read(offset: float) -> None:
        stage.pause(offset)
        for _ in range(5):
            next(requests)
            stage.pause(0.04)

    stage.run(functools.partial(read, 0), functools.partial(read, 0.02))


@RACY.add("server", "sync")
def workers_of_a_handler(stage: Stage, requests: Iterator[bytes], context: Any) -> None:
    """Three threads fetch their work from the requests; it always takes them long."""

    def work(offset: float) -> None:
        stage.pause(offset)
        for _ in range(4):
            next(requests)
            stage.pause(0.06)

    stage.run(*(functools.partial(work, 0.02 * number) for number in range(3)))


# Aio servers


@RACY.add("server", "aio")
async def progress_beside_results(stage: Stage, requests: Any, context: Any) -> None:
    """A handler writes results, its background task progress."""

    async def write(offset: float, what: bytes) -> None:
        await stage.pause_async(offset)
        for _ in range(5):
            await context.write(what)
            await stage.pause_async(0.04)

    await stage.run_async(
        functools.partial(write, 0, b"result"), functools.partial(write, 0.02, b"progress")
    )


@RACY.add("server", "aio")
async def yield_beside_write(stage: Stage, requests: Any, context: Any) -> AsyncIterator[bytes]:
    """A handler yields results while its background task writes progress."""

    async def progress() -> None:
        await stage.pause_async(0.02)
        for _ in range(5):
            await context.write(b"progress")
            await stage.pause_async(0.04)

    stage.begin(1)
    others = asyncio.create_task(stage.run_async(progress))
    try:
        for _ in range(5):
            await stage.pause_async(0.04)
            yield b"result"
    finally:
        stage.end()
        with contextlib.suppress(asyncio.CancelledError):
            await others


yield_beside_write.yields = True  # type: ignore[attr-defined]


@RACY.add("server", "aio")
async def two_loops_read(stage: Stage, requests: Any, context: Any) -> None:
    """Two tasks of a handler read the requests."""

    async def read(offset: float) -> None:
        await stage.pause_async(offset)
        for _ in range(5):
            await context.read()
            await stage.pause_async(0.04)

    await stage.run_async(functools.partial(read, 0), functools.partial(read, 0.02))
