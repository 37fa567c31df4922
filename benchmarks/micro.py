"""One guarded operation against the bare one, and against what a lock would cost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from itertools import repeat
from typing import Any

import grpc_guard

from ._measure import Block, Figure, Plan, compare
from ._stubs import AioCall, SyncCall

TITLE = "one operation on a call that does nothing (CPU time)"

BARE = "bare"
LOCKED = "bare + lock pair"
BOUND = 1.5  # x (bare + lock pair), for the sync next with owner and start time stored


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of a sync next, an aio read and an aio write."""
    yield from _sync_next(plan)
    yield from asyncio.run(_aio(plan))


def _sync_next(plan: Plan) -> Iterator[Figure]:
    call, guarded = SyncCall(), grpc_guard.wrap(SyncCall())
    lock = threading.Lock()
    acquire, release = lock.acquire, lock.release

    def bare(operations: int) -> None:
        for _ in repeat(None, operations):
            next(call)

    def locked(operations: int) -> None:
        for _ in repeat(None, operations):
            acquire()
            next(call)
            release()

    def in_a_with_block(operations: int) -> None:
        for _ in repeat(None, operations):
            with lock:
                next(call)

    def guarded_next(operations: int) -> None:
        for _ in repeat(None, operations):
            next(guarded)

    subject = "sync next, guarded"
    contenders = {
        f"sync next, {BARE}": bare,
        f"sync next, {LOCKED}": locked,
        "sync next, bare inside 'with lock'": in_a_with_block,
        subject: guarded_next,
    }
    return compare(
        contenders, subject=subject, reference=f"sync next, {LOCKED}", plan=plan, bound=BOUND
    )


async def _aio(plan: Plan) -> list[Figure]:
    call = AioCall()
    guarded = grpc_guard.wrap(call)
    return [
        *_aio_operation("aio read", call.read, guarded.read, plan),
        *_aio_operation("aio write", lambda: call.write(b""), lambda: guarded.write(b""), plan),
    ]


def _aio_operation(
    name: str,
    plain: Callable[[], Coroutine[Any, Any, object]],
    guarded: Callable[[], Coroutine[Any, Any, object]],
    plan: Plan,
) -> Iterator[Figure]:
    lock, turnstile = threading.Lock(), asyncio.Lock()
    acquire, release = lock.acquire, lock.release

    async def bare(operations: int) -> None:
        for _ in repeat(None, operations):
            await plain()

    async def locked(operations: int) -> None:
        for _ in repeat(None, operations):
            acquire()
            await plain()
            release()

    async def serialized(operations: int) -> None:
        for _ in repeat(None, operations):
            async with turnstile:
                await plain()

    async def guarded_operation(operations: int) -> None:
        for _ in repeat(None, operations):
            await guarded()

    contenders = {
        f"{name}, {BARE}": _block(bare),
        f"{name}, {LOCKED}": _block(locked),
        f"{name}, bare + asyncio.Lock": _block(serialized),
        f"{name}, guarded": _block(guarded_operation),
    }
    return compare(contenders, subject=f"{name}, guarded", reference=f"{name}, {LOCKED}", plan=plan)


def _block(contender: Callable[[int], Coroutine[Any, Any, None]]) -> Block:
    def run_to_the_end(operations: int) -> None:
        try:
            contender(operations).send(None)  # nothing in it suspends: the loop is not needed
        except StopIteration:
            return
        raise RuntimeError("an operation that does nothing was suspended")

    return run_to_the_end
