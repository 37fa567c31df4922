"""Coroutines of a guarded object that are never begun: what Python says of them is what it says of plain ones."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import Awaited, standing_for
from support.comparison import AioWorld, same_as_plain
from support.services import AioService
from support.staging import aio_server, path

from grpc_guard import wrap


async def ends(make: Callable[[], Any]) -> Any:
    """Return the name of the coroutine, and the warnings where it is closed, cancelled and dropped."""
    made = make()
    name = made.__name__, made.__qualname__
    said: list[list[str]] = []

    def close() -> None:
        made.close()

    async def cancel() -> None:
        task = asyncio.ensure_future(make())
        task.cancel()
        await asyncio.wait([task])

    async def drop() -> None:
        make()

    for end in (close, cancel, drop):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ending = end()
            if ending is not None:
                await ending
            del ending
            made = None
        said.append([str(warning.message).splitlines()[0] for warning in caught])
    return name, said


CALL = ("code", "details", "initial_metadata", "trailing_metadata", "wait_for_connection")


@same_as_plain
async def test_the_waits_of_calls_and_channels(world: AioWorld) -> AsyncIterator[Any]:
    """What waits for a call or a channel is named after grpcio's method, and is silent if it is cancelled."""
    channel = await world.channel(AioService().methods())
    call = channel.stream_stream(path("Echo"))()
    for name in (*CALL, "debug_error_string"):
        seen = await ends(getattr(call, name))
        assert seen[1][:2] == [[], []]
        assert len(seen[1][2]) == 1
        yield name, seen
    state = channel.get_state()
    yield (
        await ends(channel.channel_ready),
        await ends(lambda: channel.wait_for_state_change(state)),
    )
    yield await call.done_writing(), await call.read() is grpc.aio.EOF


@same_as_plain
async def test_the_waits_of_contexts(world: AioWorld) -> AsyncIterator[Any]:
    """The same of what a handler awaits."""
    seen: list[Any] = []

    async def handle(request: bytes, context: Any) -> AsyncIterator[bytes]:
        seen.append(await ends(lambda: context.send_initial_metadata(())))
        seen.append(await ends(lambda: context.abort(grpc.StatusCode.ABORTED, "no")))
        yield request

    channel = await world.channel({"Numbers": grpc.unary_stream_rpc_method_handler(handle)})
    call = channel.unary_stream(path("Numbers"))(b"x")
    yield await call.read(), await call.read() is grpc.aio.EOF
    assert [said[:2] for _, said in seen] == [[[], []], [[], []]]
    yield seen


async def test_what_stands_for_a_future() -> None:
    """It has a name of its own, and leaves the future alone if it is never begun."""

    async def wait(held: Awaited) -> Any:
        return await held.taken()

    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    never = standing_for(future, wait)
    never.close()
    assert never.__name__ == "wait"
    assert not future.done()
    future.set_result("done")
    assert await standing_for(future, wait) == "done"


@pytest.mark.parametrize("method", ["__anext__", "asend"])
async def test_a_step_of_an_iterator_that_is_cancelled_before_it_begins(method: str) -> None:
    """The guarded iterator goes on, as nothing was read; the plain one is finished: see transparency.md."""
    args = () if method == "__anext__" else (None,)
    for is_guarded, then in ((False, []), (True, [b"a", b"b"])):
        async with aio_server(AioService().methods(), mode=None) as address:
            async with grpc.aio.insecure_channel(address) as plain:
                channel = wrap(plain) if is_guarded else plain
                call = channel.stream_stream(path("Echo"))()
                await call.write(b"a")
                await call.write(b"b")
                await call.done_writing()
                messages = aiter(call)
                step = asyncio.ensure_future(getattr(messages, method)(*args))
                step.cancel()
                await asyncio.wait([step])
                assert step.cancelled()
                assert [message async for message in messages] == then
