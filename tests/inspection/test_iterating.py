"""Where a program's own iterator is while gRPC waits for its next message: in every mode."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from inside import findings_stacks
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    path,
    settle,
    sync_channel,
    sync_server,
)

from grpc_guard import Mode, snapshot

MODES = pytest.mark.parametrize("mode", [Mode.RAISE, Mode.WARN, Mode.SERIALIZE])


def writers() -> dict[str, Any]:
    """Return by its side who writes, of the streams of these tests."""
    told = {one.side: one.write for one in snapshot().streams if one.rpc == path("Talk")}
    return {side: write.owner for side, write in told.items() if write is not None}


def lines(owner: Any) -> list[str]:
    return [frame.function for frame in owner.stack]


@MODES
def test_iterators(mode: Mode) -> None:
    """The line is that of the generator, on either side."""
    gate = Gate()

    def requesting() -> Iterator[bytes]:
        yield b"1"
        gate.park()

    def responding(requests: Any, context: Any) -> Iterator[bytes]:
        yield next(requests)
        gate.park()

    methods = {"Talk": grpc.stream_stream_rpc_method_handler(responding)}
    with sync_server(methods, mode=mode) as address, sync_channel(address, mode=mode) as channel:
        call = channel.stream_stream(path("Talk"))(requesting(), timeout=PATIENCE)
        assert next(call) == b"1"
        gate.wait(2)
        try:
            seen = writers()
        finally:
            gate.open()
        assert list(call) == []
    assert seen["client"].operation == "next(request_iterator)"
    assert seen["server"].operation == "next(response_iterator)"
    assert "requesting" in lines(seen["client"])
    assert "responding" in lines(seen["server"])


@MODES
async def test_async_iterators(mode: Mode) -> None:
    """The same of an async generator of requests."""
    here, going = asyncio.Event(), asyncio.Event()

    async def requesting() -> AsyncIterator[bytes]:
        yield b"1"
        here.set()
        await going.wait()

    async def echo(requests: Any, context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    methods = {"Talk": grpc.stream_stream_rpc_method_handler(echo)}
    async with (
        aio_server(methods, mode=mode) as address,
        aio_channel(address, mode=mode) as channel,
    ):
        call = channel.stream_stream(path("Talk"))(requesting(), timeout=PATIENCE)
        messages = aiter(call)
        assert await anext(messages) == b"1"
        await asyncio.wait_for(here.wait(), PATIENCE)
        await settle()
        seen = writers()
        going.set()
        assert [message async for message in messages] == []
    assert seen["client"].operation == "anext(request_iterator)"
    assert "requesting" in lines(seen["client"])


def test_a_loader_that_fails() -> None:
    """What a module's own loader raises is not the look's: a line without its text is told."""

    class Loader:
        def get_source(self, name: str) -> str:
            raise ArithmeticError

    names: dict[str, Any] = {"sys": sys, "__name__": "odd", "__loader__": Loader()}
    exec(compile("def frame(): return sys._getframe()", "odd.py", "exec"), names)
    found = findings_stacks.copy_frame(names["frame"]())
    assert (found.file, found.line, found.function, found.code) == ("odd.py", 1, "frame", "")
