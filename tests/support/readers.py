"""Tasks that read streams of asyncio, and what a look says of them."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from grpc_guard import Owner, snapshot
from support.staging import path, within


async def echo(requests: Any, context: Any) -> None:
    async for request in requests:
        await context.write(request)


HANDLERS = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}


def readers() -> list[Owner | None]:
    """Return who reads the streams of clients, in their order."""
    streams = [one for one in snapshot().streams if one.side == "client"]
    return [None if one.read is None else one.read.owner for one in streams]


def line(owner: Owner | None) -> str:
    assert owner is not None
    assert owner.site is not None
    return owner.site.code


async def opened(channel: Any) -> Any:
    """Return a call whose handler reads."""
    call = channel.stream_stream(path("Echo"))()
    await within(call.write(b"0"))
    await within(call.read())
    return call


async def once(call: Any) -> None:
    await call.read()  # once


async def begun(coroutine: Any) -> asyncio.Task[Any]:
    """Return a task that has run up to where it waits."""
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


def waits_for(task: asyncio.Task[Any]) -> Any:
    return task._fut_waiter  # type: ignore[attr-defined]
