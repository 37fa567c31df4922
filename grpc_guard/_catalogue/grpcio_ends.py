"""Private names of grpcio by which grpc.aio begins and ends: a part of the door of grpcio.py."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc._cython import cygrpc

from .grpcio import kind
from .heap import held_by, instances


def objects_of_aio() -> list[Any]:
    """Return the objects for which grpc.aio is initialized, and is shut down when the last one goes.

    ``AioServer``, ``AioChannel``, ``_AioCall``: since 1.25. It takes a walk over the heap.
    """
    return instances(map(kind, ("AioServer", "AioChannel", "_AioCall")))


def is_left_running(server: Any) -> bool:
    """Tell whether `server`, an ``AioServer``, was not stopped and cannot be: its loop does not run.

    By ``is_running()``, since 1.32; it shows its loop to the collector alone.
    """
    if not issubclass(type(server), kind("AioServer")) or not server.is_running():
        return False
    loops = [one for one in held_by(server) if isinstance(one, asyncio.AbstractEventLoop)]
    return not any(loop.is_running() for loop in loops)


def keep_aio_initialized(objects: list[Any]) -> None:
    """Have grpc.aio not shut down when the last of `objects` goes, by ``init_grpc_aio()``.

    Since 1.32. It asks for the loop that runs, and would make one: a loop of theirs is known to it.
    Nothing is done where a name is missing: a program may hang at its end then.
    """
    loops = (one for one in held_by(*objects) if isinstance(one, asyncio.AbstractEventLoop))
    running = asyncio._get_running_loop()
    loop = next(loops, None) if running is None else running
    if loop is not None and hasattr(cygrpc, "init_grpc_aio"):
        asyncio._set_running_loop(loop)
        try:
            cygrpc.init_grpc_aio()
        finally:
            asyncio._set_running_loop(running)
