"""Forks in a running loop with a live lease: ``forking_aio.py ADDRESS``; prints who gets what.

The child starts no RPC: grpc.aio carries none there, and may crash.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import grpc.aio
from grpc_guard.aio import ChannelRegistry

registry = ChannelRegistry.default()


async def parent() -> None:
    """Use a lease before and after the fork."""
    async with registry.get(sys.argv[1]) as lease:
        unary = lease.unary_unary("/test.Guard/Unary")
        print("parent before:", (await unary(b"a")).decode(), flush=True)
        process = os.fork()
        if not process:
            try:
                asyncio.run(child(lease, unary))
            finally:
                os._exit(0)
        _, status = await asyncio.to_thread(os.waitpid, process, 0)
        print("child ended:", status)
        print("parent after:", (await unary(b"d")).decode(), len(registry.snapshot()))


async def child(lease: Any, unary: Any) -> None:
    """Use what is the parent's, on a loop of its own."""
    print("child sees:", len(registry.snapshot()))
    try:
        unary(b"b")
    except grpc.aio.UsageError as error:
        print("child, old lease:", str(error).split(" taken ")[1].split(" by ")[1])
    await lease.close()
    await asyncio.wait_for(registry.close(), 10)
    print("child, closed:", ChannelRegistry.default() is not registry, flush=True)


asyncio.run(parent())
