"""What mode ``serialize`` costs if many parties want the same stream, compared with a lock.

Ratios of throughput, in one run: parties that read one stream equally often, in mode
``serialize`` and under a lock of the program. Each read lets others run once, as a read of gRPC
does: it sleeps for no time.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc_guard

from ._measure import Figure, Plan
from ._stubs import AioCall, SyncCall

TITLE = "many parties on one stream: serialize beside a lock (throughput, more is better)"

_PARTIES = (10, 100, 1000, 5000)
_READS = 5000  # in each block, of all parties together
_BLOCKS = 5
_STACK = 256 * 1024  # bytes of a thread


class _SyncCall(SyncCall):
    def __next__(self) -> bytes:
        time.sleep(0)
        return b""


class _AioCall(AioCall):
    async def read(self) -> bytes:
        await asyncio.sleep(0)
        return b""


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the ratio of the throughputs for each number of parties, threads and tasks."""
    logger = logging.getLogger("grpc_guard")
    before, logger.disabled = logger.disabled, True  # formatting log lines must not be measured
    stack = threading.stack_size(_STACK)
    try:
        for parties in _PARTIES:
            for api, run in (("threads", _threads), ("tasks", _in_tasks)):
                yield Figure(f"{parties:,} {api}", _ratio(run, parties), "x")
    finally:
        threading.stack_size(stack)
        logger.disabled = before
        grpc_guard.clear_findings()


def _ratio(run: Callable[..., float], parties: int) -> float:
    """Return the median of the blocks' ratios: reads a second in serialize, over those with a lock."""
    ratios = []
    for _ in range(_BLOCKS):
        locked = run(parties, guarded=False)
        ratios.append(locked / run(parties, guarded=True))
    return statistics.median(ratios)


def _threads(parties: int, *, guarded: bool) -> float:
    """Return the seconds that it takes."""
    call: Any = _SyncCall()
    lock = threading.Lock()
    if guarded:
        read = grpc_guard.wrap(call, mode="serialize").__next__
    else:

        def read() -> bytes:
            with lock:
                return next(call)  # type: ignore[no-any-return]

    begin = threading.Barrier(parties + 1)

    def party() -> None:
        begin.wait()
        for _ in range(max(1, _READS // parties)):
            read()

    threads = [threading.Thread(target=party) for _ in range(parties)]
    for thread in threads:
        thread.start()
    begin.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _in_tasks(parties: int, *, guarded: bool) -> float:
    return asyncio.run(_tasks(parties, guarded=guarded))


async def _tasks(parties: int, *, guarded: bool) -> float:
    call: Any = _AioCall()
    lock = asyncio.Lock()
    if guarded:
        read = grpc_guard.wrap(call, mode="serialize").read
    else:

        async def read() -> bytes:
            async with lock:
                return await call.read()  # type: ignore[no-any-return]

    async def party() -> None:
        for _ in range(max(1, _READS // parties)):
            await read()

    began = time.perf_counter()
    await asyncio.gather(*(party() for _ in range(parties)))
    return time.perf_counter() - began
