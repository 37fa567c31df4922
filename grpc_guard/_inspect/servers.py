"""Servers: which RPCs are handled now and where, which wait for a thread, which are over.

All of it is read off what grpcio itself holds while it serves, so that unary handlers, which the
guard leaves alone, are seen as well.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import re
from collections.abc import Iterator
from time import monotonic
from types import FrameType
from typing import Any

from grpc import _server

from .._core.stream import Stream
from .._findings.records import Owner
from .._lifecycle.handlers import Handlers, servers
from .records import HandlerSnapshot, ServerSnapshot
from .sending import suspended
from .sight import Party, Sight

# What runs on the thread of a pool for as long as an RPC is handled; has `state` and `rpc_event`.
_HANDLING = frozenset(
    getattr(_server, name).__code__
    for name in ("_unary_response_in_pool", "_stream_response_in_pool")
)
_AIO_METHOD = re.compile(r"\[(/.+)\]$")  # in the name that grpcio gives to the task of an RPC
_UNNAMED = "(a unary RPC)"


def servers_seen(sight: Sight) -> Iterator[ServerSnapshot]:
    """Yield the servers of this process that the guard knows."""
    for number, (server, handlers) in enumerate(servers(), start=1):
        state = getattr(server, "_state", None)
        if state is not None:
            found = _sync_handlers(state, handlers, sight)
            pool = state.thread_pool
            waiting = [_method_of(event) for event in _queued(pool, state.rpc_states)]
        else:
            found = _aio_handlers(server, handlers, sight)
            pool, waiting = None, []
        yield ServerSnapshot(
            number=number,
            api=str(handlers.api),
            pool_size=getattr(pool, "_max_workers", None) or handlers.pool_size,
            handlers=tuple(sorted(found, key=lambda one: -(one.handler.held_seconds or 0))),
            waiting=tuple(waiting),
        )


# Sync


def _sync_handlers(state: Any, handlers: Handlers, sight: Sight) -> Iterator[HandlerSnapshot]:
    streams = handlers.streams()
    for ident, frames in sight.threads.items():
        for frame in frames:
            if frame.f_code in _HANDLING:
                names = frame.f_locals
                if _is_served_by(state, names["state"], ident):
                    over = bool(names["state"].statused or names["state"].client == "cancelled")
                    rpc = _method_of(names["rpc_event"])
                    noted = streams.get(ident)
                    owner = _handler(sight, Party.thread(ident), rpc, frames, noted)
                    yield HandlerSnapshot(rpc, owner, over)
                break


def _is_served_by(state: Any, rpc_state: Any, ident: int) -> bool:
    """Tell whether the RPC that thread `ident` handles is of the server with this `state`.

    One that is over is in no server's books any more, though its handler still runs.
    """
    all_states = [getattr(server, "_state", None) for server, _ in servers()]
    sync_states = [one for one in all_states if one is not None]
    known = [one for one in sync_states if rpc_state in one.rpc_states]
    if not known:
        threads = [(one, getattr(one.thread_pool, "_threads", ())) for one in sync_states]
        known = [
            one for one, pool in threads if any(ident == thread.ident for thread in tuple(pool))
        ]
    return state is (known or sync_states)[0]


def _handler(
    sight: Sight,
    party: Party,
    rpc: str,
    frames: list[FrameType],
    noted: tuple[Stream, float] | None,
) -> Owner:
    """Return who handles `rpc`, at its line; of a streaming one it is noted since when."""
    stack = sight.lines.stack(frames)
    held = None
    if noted is not None and noted[0].rpc == rpc:
        stream, since = noted
        held = max(0.0, monotonic() - since)
        # Between two messages the generator shows no frame of its own.
        stack = (*stack, *sight.lines.stack(suspended(stream)))
    return Owner(party.kind, party.name, "handler", held, stack)


def _queued(pool: Any, rpc_states: Any) -> Iterator[Any]:
    """Yield the event of each RPC of these that stands in the queue of `pool`."""
    for items in gc.get_referents(getattr(pool, "_work_queue", None)):
        for item in items if type(items) is list else [items]:
            arguments = list(_arguments_of(item))
            if any(type(one) is _server._RPCState and one in rpc_states for one in arguments):
                yield from (one for one in arguments if hasattr(one, "call_details"))


def _arguments_of(item: Any) -> Iterator[Any]:
    """Yield the arguments of a work item: they are in a tuple, in Python 3.14 inside another."""
    for held in gc.get_referents(item):
        for one in held if type(held) is tuple else ():
            yield from one if type(one) is tuple else [one]


def _method_of(event: Any) -> str:
    method = event.call_details.method
    return method.decode(errors="replace") if isinstance(method, bytes) else str(method)


# Aio


def _aio_handlers(server: Any, handlers: Handlers, sight: Sight) -> Iterator[HandlerSnapshot]:
    streams = handlers.streams()
    migrated = list(handlers.threads())
    is_alone = sum(1 for one, _ in servers() if _loop_of(one) is _loop_of(server)) == 1
    for task, frames in sight.rpc_tasks:
        if task.get_loop() is not _loop_of(server) or not (is_alone or _serves(server, task)):
            continue
        named = _AIO_METHOD.search(task.get_name())
        noted = streams.get(id(task))
        rpc = named[1] if named else noted[0].rpc if noted is not None else _UNNAMED
        owner = _handler(sight, Party.task(task), rpc, frames, noted)
        in_pool = next((one for one in migrated if one.operation == rpc), None)
        if not owner.stack and in_pool is not None:  # a sync handler, which a thread runs
            migrated.remove(in_pool)
            owner = dataclasses.replace(in_pool, operation="handler")
        yield HandlerSnapshot(rpc, owner, None)


def _loop_of(server: Any) -> Any:
    return getattr(server, "_loop", None)


def _serves(server: Any, task: asyncio.Task[Any]) -> bool:
    """Tell whether `task` handles an RPC of `server`: it holds that server's own list of handlers."""
    lists = {id(one) for one in gc.get_referents(server._server) if type(one) is list}
    held: list[Any] = [task.get_coro()]
    for _ in range(4):  # coroutine, what it encloses, the coroutine of the RPC, what that encloses
        held = gc.get_referents(*held)
        if any(id(one) in lists for one in held):
            return True
    return False
