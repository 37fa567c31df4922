"""Whether an operation costs more while many guarded streams live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

from grpc_guard._catalogue.modes import Mode
from grpc_guard._core.stream import Stream
from grpc_guard._proxies.aio.calls import ReadingCall
from grpc_guard._proxies.sync.calls import responses_of

from ._measure import Block, Figure, Plan, race, ratio_figure
from ._stubs import AioCall, SyncCall

TITLE = "one operation while so many guarded streams live"
INTRO = (
    "*Same stream*: one of them is used over and over, so that what grows can only be the guard. *Each in turn*: all are "
    "used one after the other, the guarded as well as the plain ones, so that the processor's caches have their say; plain "
    "streams pay for that too."
)

_RPC = "/benchmark.Service/Method"
_BARE, _SAME, _TURN, _BARE_TURN = "bare", "same stream", "each in turn", "bare, each in turn"


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the cost of a sync next and of an aio read, by live streams."""
    for live in plan.live:
        guarded = [
            responses_of(SyncCall(), Stream(_RPC, "client", "sync", Mode.RAISE))
            for _ in range(live)
        ]
        plain = [SyncCall() for _ in range(live)]
        yield from _figures("sync next", plain, guarded, _advance, plan)
    for live in plan.live:
        yield from asyncio.run(_aio(live, plan))


async def _aio(live: int, plan: Plan) -> list[Figure]:
    loop = asyncio.get_running_loop()
    guarded = [
        ReadingCall(AioCall(), Stream(_RPC, "client", "aio", Mode.RAISE, loop)) for _ in range(live)
    ]
    plain = [AioCall() for _ in range(live)]
    return list(_figures("aio read", plain, guarded, _read, plan))


def _figures(
    operation: str,
    plain: Sequence[Any],
    guarded: Sequence[Any],
    act: Callable[[Iterator[Any]], None],
    plan: Plan,
) -> Iterator[Figure]:
    live = len(guarded)
    contenders = {
        _BARE: lambda operations: act(repeat(plain[0], operations)),
        _SAME: lambda operations: act(repeat(guarded[0], operations)),
        _BARE_TURN: _in_turn(plain, act),
        _TURN: _in_turn(guarded, act),
    }
    measured = race(contenders, reference=_BARE, plan=plan, operations=20_000)
    row = f"{operation}, {live:,} live"
    for name in contenders:
        yield Figure(row, measured.time(name, "ns"), "ns", column=name)
    yield ratio_figure(row, f"{_SAME} / {_BARE}", measured, _SAME)


def _in_turn(calls: Sequence[Any], act: Callable[[Iterator[Any]], None]) -> Block:
    calls = list(calls) * max(1, 20_000 // len(calls))  # short lists would measure the slicing
    position = 0

    def run(operations: int) -> None:
        nonlocal position
        while operations > 0:
            some = calls[position : position + operations]
            act(iter(some))
            operations -= len(some)
            position = (position + len(some)) % len(calls)

    return run


def _advance(calls: Iterator[Any]) -> None:
    for call in calls:
        next(call)


async def _read_all(calls: Iterator[Any]) -> None:
    for call in calls:
        await call.read()


def _read(calls: Iterator[Any]) -> None:
    try:
        _read_all(calls).send(None)  # nothing in it suspends: the loop is not needed
    except StopIteration:
        return
