"""What it costs to be refused: to find the owner, copy both stacks, write the report, raise."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import grpc_guard
from grpc_guard._reports.document import document
from grpc_guard._reports.report import Report

from ._measure import Figure, Plan, clock
from ._stubs import AioCall, SyncCall

TITLE = "one refused call, report included (CPU time)"

_READERS = 9
_DEEP = 10


class _ParkedCall(SyncCall):
    """A sync call in whose next() one thread stays until it is told to go."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def __next__(self) -> bytes:
        self.entered.set()
        self.go.wait()
        return b""


class _SilentCall(AioCall):
    """An aio call whose read() waits for ever."""

    async def read(self) -> bytes:
        return await asyncio.get_running_loop().create_future()


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the time of a refused sync next and of a refused aio read."""
    yield Figure("sync next during next", _sync(plan.refusals), "us")
    for tasks, depth in (_READERS + 1, 1), (1000, 1), (10_000, _DEEP):
        microseconds = asyncio.run(_aio(plan.refusals, tasks, depth))
        deep = f", each {depth} awaits deep" if depth > 1 else ""
        yield Figure(f"aio read during read, {tasks:,} tasks{deep}", microseconds, "us")
    yield Figure("one finding as JSON, afterwards", _report(plan.refusals), "us")
    grpc_guard.clear_findings()


def _report(times: int) -> float:
    some = grpc_guard.findings()[:1]
    spent = []
    for _ in range(times):
        began = clock()
        json.dumps(document(Report(some, Path.cwd(), "raise", 1, 1, 1)), indent=2)
        spent.append(clock() - began)
    return statistics.median(spent) * 1e6


def _sync(refusals: int) -> float:
    plain = _ParkedCall()
    call = grpc_guard.wrap(plain)
    reader = threading.Thread(target=next, args=(call,), name="reader")
    reader.start()
    plain.entered.wait()
    try:
        return _median_microseconds(refusals, lambda: next(call))
    finally:
        plain.go.set()
        reader.join()


async def _aio(refusals: int, tasks: int, depth: int) -> float:
    calls = [grpc_guard.wrap(_SilentCall()) for _ in range(_READERS)]
    readers = [asyncio.create_task(_deep(call.read, depth), name="reader") for call in calls]
    waits = [asyncio.Event().wait for _ in range(tasks - len(readers) - 1)]
    idle = [asyncio.create_task(_deep(wait, depth)) for wait in waits]
    await asyncio.sleep(0)  # every task is inside its first await now
    in_turn = itertools.cycle(calls)  # the search may meet one owner early and another late
    try:
        return _median_microseconds(refusals, lambda: next(in_turn).read().send(None))
    finally:
        for task in (*readers, *idle):
            task.cancel()
        await asyncio.gather(*readers, *idle, return_exceptions=True)


async def _deep(wait: Callable[[], Awaitable[object]], depth: int) -> None:
    """Await `wait` through `depth` coroutines."""
    await (wait() if depth == 1 else _deep(wait, depth - 1))


def _median_microseconds(refusals: int, refused: Callable[[], object]) -> float:
    times = []
    for _ in range(refusals):
        began = clock()
        try:
            refused()
        except grpc_guard.ConcurrencyError:
            times.append(clock() - began)
    return statistics.median(times) * 1e6
