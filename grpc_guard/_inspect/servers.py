"""Servers: which RPCs are handled now and where, which wait for a thread, which are over.

All of it is read off what grpcio itself holds while it serves, so that unary handlers, which the
guard leaves alone, are seen as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from time import monotonic
from typing import Any

from .._catalogue.cpython import idents_of_workers, size_of_pool
from .._catalogue.grpcio import executor_of_server, is_aio_server, loop_of
from .._catalogue.grpcio_rpcs import (
    handled_at,
    is_over,
    is_served_by,
    method_of_task,
    rpc_states_of,
    waiting_rpcs,
)
from .._core.stream import AioDirection, Stream
from .._findings.parties import name_of_task, name_of_thread
from .._findings.records import Frame, Owner
from .._lifecycle.handlers import Handlers, servers
from .native import slices_of
from .records import HandlerSnapshot, ServerSnapshot, new_handler, new_owner
from .sending import suspended
from .sight import Sight

_UNNAMED = "(a unary RPC)"


def servers_seen(sight: Sight) -> Iterator[ServerSnapshot]:
    """Yield the servers of this process that the guard knows."""
    for number, (server, handlers) in enumerate(servers(), start=1):
        is_aio = is_aio_server(server)
        found = (_aio_handlers if is_aio else _sync_handlers)(server, handlers, sight)
        yield ServerSnapshot(
            number=number,
            api=str(handlers.api),
            pool_size=size_of_pool(executor_of_server(server)) or None,
            handlers=tuple(sorted(found, key=_held, reverse=True)),
            waiting=() if is_aio else tuple(waiting_rpcs(server)),
        )


def _held(one: HandlerSnapshot) -> float:
    return one.handler.held_seconds or 0.0


# Sync


def _sync_handlers(server: Any, handlers: Handlers, sight: Sight) -> Iterator[HandlerSnapshot]:
    streams = sight.handled.by(handlers)
    for ident, frames in sight.threads.items():
        handled = next(filter(None, map(handled_at, frames)), None)
        if handled is not None and _serves(server, handled[0], ident):
            rpc_state, rpc = handled
            stack = sight.lines.stack(frames)
            kind, name = name_of_thread(ident)
            owner = _handler(sight, kind, name, rpc, stack, streams.get(ident), monotonic())
            yield new_handler(rpc, owner, is_over(rpc_state))


def _serves(server: Any, rpc_state: Any, ident: int) -> bool:
    """Tell whether the RPC that thread `ident` handles is one of `server`.

    One that is over is in no server's books any more, though its handler still runs.
    """
    all_servers = [one for one, _ in servers() if not is_aio_server(one)]
    known = [one for one in all_servers if rpc_state in rpc_states_of(one)]
    if not known:
        pools = [(one, executor_of_server(one)) for one in all_servers]
        known = [one for one, pool in pools if ident in idents_of_workers(pool)]
    return server is (known or all_servers)[0]


def _handler(
    sight: Sight,
    kind: str,
    name: str,
    rpc: str,
    stack: tuple[Frame, ...],
    noted: tuple[Stream, float] | None,
    present: float,
) -> Owner:
    """Return who handles `rpc`, at its line; of a streaming one it is noted since when."""
    held = None
    if noted is not None and noted[0].rpc == rpc:
        stream, since = noted
        held = max(0.0, present - since)
        # Between two messages the generator shows no frame of its own.
        write = stream.write
        if type(write) is not AioDirection and (at_rest := list(suspended(write))):
            stack = (*stack, *sight.lines.stack(at_rest))
    return new_owner(kind, name, "handler", held, stack, "inside", None)


# Aio


def _aio_handlers(server: Any, handlers: Handlers, sight: Sight) -> Iterator[HandlerSnapshot]:
    streams = sight.handled.by(handlers)
    migrated = list(handlers.threads())
    known: dict[str, tuple[str | None, str]] = {}  # thousands of tasks have the same name
    loop = loop_of(server)
    is_alone = sum(1 for one, _ in servers() if loop_of(one) is loop) == 1
    for some in slices_of(sight.rpc_tasks):
        present = monotonic()
        for task, stack in some:
            if task.get_loop() is not loop or not (is_alone or is_served_by(server, task)):
                continue
            noted = streams.get(id(task))
            name = task.get_name()
            if name not in known:
                known[name] = method_of_task(task), name_of_task(task)
            method, party = known[name]
            rpc = method or (noted[0].rpc if noted is not None else _UNNAMED)
            owner = _handler(sight, "task", party, rpc, stack, noted, present)
            in_pool = None
            if migrated and not owner.stack:  # it may be a sync handler, which a thread runs
                in_pool = next((one for one in migrated if one.operation == rpc), None)
            if in_pool is not None:
                migrated.remove(in_pool)
                owner = dataclasses.replace(in_pool, operation="handler")
            yield new_handler(rpc, owner, None)
