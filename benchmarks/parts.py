"""Where each nanosecond goes: the parts of a guarded operation, each on its own."""

from __future__ import annotations

import asyncio
import textwrap
from _thread import get_ident
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

from grpc_guard._catalogue.modes import Mode
from grpc_guard._catalogue.nouns import Way
from grpc_guard._core import which
from grpc_guard._core.steps import Responses
from grpc_guard._core.stream import AioDirection, Stream
from grpc_guard._proxies.aio.calls import DuplexCall
from grpc_guard._proxies.sync.calls import responses_of

from ._measure import Block, Figure, Plan, race
from ._stubs import AioCall, SyncCall

TITLE = "the parts of a guarded operation"
INTRO = (
    "Of the core in Python. Each part is repeated in a loop, and the empty loop is taken off. The sums stay below what a guarded operation costs over "
    "the bare one; what lies between the parts is not measured apart. Sync is a client's `next()`, aio a client's `read()`."
)

_EMPTY = "(the empty loop)"
_REPEATS = 20
_PASSES = 400  # of the loop in a block: a part can take a hundred times as long as the empty loop
_BOTH = ("sync", "aio")
_PARTS: dict[str, tuple[str, tuple[str, ...]]] = {  # statement, and the api that has it
    "the call of one more Python function": ("function()", ("sync",)),
    "one more coroutine, made and awaited": ("await coroutine()", ("aio",)),
    "looking up the method on the proxy": ("call.read", ("aio",)),
    "loading the direction from the proxy": ("call._self_read", ("aio",)),
    "which thread runs the loop?": ("d.loop_thread._thread_id", ("aio",)),
    "claim and release of an attribute": ("del s.free; s.free = True", ("sync",)),
    "claim and release of a flag": ("if not d.taken: d.taken = True; d.taken = False", ("aio",)),
    "`try` and `finally`": ("try:\n    pass\nfinally:\n    d", _BOTH),
    "`get_ident()`: who is it?": ("get_ident()", _BOTH),
    "`monotonic()`: since when?": ("monotonic()", _BOTH),
    "storing the owner": ("s.owner = x", ("sync",)),
    "storing the time": ("d.since = x", _BOTH),
    "loading what to do from the direction": ("d.step", _BOTH),
}
_WHOLE = {  # the operation, guarded and bare
    "sync": ("next(reader)", "next(plain_reader)"),
    "aio": ("await call.read()", "await plain.read()"),
}


async def _coroutine() -> None:
    pass


def are_here() -> bool:
    """Tell whether an operation of this process has these parts; say so if not."""
    if which.name() == "py":
        return True
    print("  these are parts of the core in Python: set GRPC_GUARD_PURE=1")
    return False


def measure(plan: Plan) -> Iterator[Figure]:
    """Yield the time of each part, with the core in Python."""
    if are_here():
        yield from asyncio.run(_measure(plan))


async def _measure(plan: Plan) -> list[Figure]:
    contenders = await blocks()
    measured = race(contenders, reference=_EMPTY, plan=plan, operations=_PASSES)
    return list(figures({part: measured.time(part, "ns") for part in contenders}, "ns"))


async def blocks() -> dict[str, Block]:
    """Return what repeats each part, and the operations that they are the parts of."""
    stream = Stream("/benchmark.Service/Method", "client", "aio", Mode.RAISE)
    stream.loop = asyncio.get_running_loop()
    call = DuplexCall(AioCall(), stream)
    names = {
        "get_ident": get_ident,
        "monotonic": monotonic,
        "function": lambda: None,
        "coroutine": _coroutine,
        "locals_": lambda: (
            call,
            AioDirection(stream, Way.READ, AioCall().read),
            Responses(Stream(stream.rpc, "client", "sync", Mode.RAISE), SyncCall()),
            call.__wrapped__,
            responses_of(SyncCall(), Stream(stream.rpc, "client", "sync", Mode.RAISE)),
            SyncCall(),
        ),
    }
    statements = {part: statement for part, (statement, _) in _PARTS.items()}
    statements |= {statement: statement for pair in _WHOLE.values() for statement in pair}
    statements = {_EMPTY: "pass", **statements}
    return {part: _loop(statement, names) for part, statement in statements.items()}


def figures(passes: Mapping[str, float], unit: str) -> Iterator[Figure]:
    """Yield the table, from what one pass of each block took."""
    loop = passes[_EMPTY]
    costs = {part: max(0.0, taken - loop) / _REPEATS for part, taken in passes.items()}
    for part, (_, apis) in _PARTS.items():
        for api in apis:
            yield Figure(part, costs[part], unit, column=api)
    for api in _BOTH:
        whole = sum(costs[part] for part, (_, apis) in _PARTS.items() if api in apis)
        yield Figure("**all parts**", whole, unit, column=api)
    for api, (guarded, bare) in _WHOLE.items():
        yield Figure("measured: guarded less bare", costs[guarded] - costs[bare], unit, column=api)


def _loop(statement: str, names: dict[str, Any]) -> Block:
    """Return a block that executes `statement` so many times in each pass of a loop."""
    body = textwrap.indent("\n".join([statement] * _REPEATS), " " * 8)
    source = f"""
async def act(operations):
    x = 0.0
    call, d, s, plain, reader, plain_reader = locals_()
    for _ in range(operations):
{body}
"""
    local = dict(names)
    exec(source, local)
    act = local["act"]

    def run(operations: int) -> None:
        try:
            act(operations).send(None)
        except StopIteration:
            return

    return run
