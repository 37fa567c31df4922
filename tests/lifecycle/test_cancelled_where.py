"""cancelled-read names where the operation was cancelled, and where the stream was used again."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import grpc
import grpc.aio
import pytest
from support.staging import AsyncGate, aio_channel, aio_server, path, within

from grpc_guard import Finding

Found = Callable[[], list[Finding]]

MOMENT = 0.01  # of a time-out that is reached: what it cancels would wait for ever


async def wait_for(stream: Any) -> None:
    await asyncio.wait_for(stream.read(), MOMENT)  # HERE


async def wait_for_a_step(stream: Any) -> None:
    await asyncio.wait_for(anext(aiter(stream)), MOMENT)  # HERE


async def timeout(stream: Any) -> None:
    async with asyncio.timeout(MOMENT):
        await stream.read()  # HERE


async def step_with_default(stream: Any) -> None:
    async with asyncio.timeout(MOMENT):
        await anext(aiter(stream), None)  # HERE


async def generator(stream: Any) -> None:
    async def messages() -> AsyncIterator[Any]:
        while True:
            yield await stream.read()  # HERE

    async with asyncio.timeout(MOMENT):
        async for _ in messages():
            pass


async def task_of_the_program(stream: Any) -> None:
    async def read() -> Any:
        unused = (asyncio.sleep(0), stream)  # what is in a local variable is not what it awaits
        try:
            return await stream.read()  # HERE
        finally:
            unused[0].close()

    await asyncio.wait_for(asyncio.ensure_future(read()), MOMENT)


async def gathered(stream: Any) -> None:
    await asyncio.wait_for(asyncio.gather(stream.read()), MOMENT)  # HERE


async def cancelled(stream: Any) -> None:
    task = asyncio.create_task(stream.read())
    await asyncio.wait([task], timeout=MOMENT)
    task.cancel()
    await task  # HERE


async def group(stream: Any) -> None:
    async def fail() -> None:
        raise ValueError

    async with asyncio.TaskGroup() as tasks:  # HERE
        tasks.create_task(stream.read())
        await asyncio.sleep(MOMENT)
        tasks.create_task(fail())


async def fail_after(stream: Any) -> None:
    with anyio.fail_after(MOMENT):
        await stream.read()  # HERE


async def group_of_anyio(stream: Any) -> None:
    async with anyio.create_task_group() as tasks:  # HERE
        tasks.start_soon(stream.read)
        await anyio.sleep(MOMENT)
        tasks.cancel_scope.cancel()


WAYS = [
    wait_for,
    timeout,
    generator,
    task_of_the_program,
    gathered,
    cancelled,
    group,
    fail_after,
    group_of_anyio,
]
STEPS = [wait_for_a_step, step_with_default]


def marked(way: Callable[..., Any]) -> str:
    """Return the line of `way` that has the mark, as it is in the report."""
    (line,) = (line for line in inspect.getsource(way).splitlines() if line.endswith("# HERE"))
    return line.strip()


async def use(stream: Any, way: Callable[[Any], Awaitable[None]]) -> None:
    """Run `way` as a task of its own, which is not being cancelled when that is over."""
    ends = (asyncio.CancelledError, TimeoutError, StopAsyncIteration, ExceptionGroup)
    with contextlib.suppress(*ends):
        await asyncio.create_task(way(stream))  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [*WAYS, *STEPS])
async def test_a_read_of_a_client(way: Callable[[Any], Awaitable[None]], found: Found) -> None:
    """The line that awaits the read that was cancelled is named, and so is the one of the next."""
    gate = AsyncGate()

    async def hold(requests: Any, context: Any) -> None:
        await gate.park()

    handler = grpc.stream_stream_rpc_method_handler(hold)
    async with aio_server({"Hold": handler}, mode=None) as address, aio_channel(address) as channel:
        call = channel.stream_stream(path("Hold"))()
        await within(call.wait_for_connection())
        await use(call, way)
        assert found() == []
        again = wait_for_a_step if way in STEPS else wait_for
        await use(call, again)
        gate.open()
    (finding,) = found()
    assert finding.rule == "cancelled-read"
    assert finding.owner is not None
    assert finding.owner.site is not None
    assert finding.owner.site.code == marked(way)
    assert f"{finding.owner.site.file}:{finding.owner.site.line}, which ended" in finding.message
    assert finding.caller.site is not None
    assert finding.caller.site.code == marked(again)


@pytest.mark.parametrize("way", WAYS)
async def test_a_read_of_a_handler(way: Callable[[Any], Awaitable[None]], found: Found) -> None:
    """The same for the context of a handler."""

    async def handle(requests: Any, context: Any) -> None:
        await use(context, way)
        await use(context, wait_for)

    handler = grpc.stream_stream_rpc_method_handler(handle)
    async with aio_server({"Read": handler}) as address, aio_channel(address, mode=None) as channel:
        call = channel.stream_stream(path("Read"))()
        assert await within(call.read()) is grpc.aio.EOF
    (finding,) = found()
    assert finding.rule == "cancelled-read"
    assert finding.owner is not None
    assert finding.owner.site is not None
    assert finding.owner.site.code == marked(way)
    assert finding.caller.site is not None
    assert finding.caller.site.code == marked(wait_for)


async def test_a_channel_that_a_task_of_asyncio_has_closed(found: Found) -> None:
    """The line that awaits close() is named, though close() is a task by itself (Python 3.11)."""
    handler = grpc.stream_stream_rpc_method_handler(_nothing)
    async with aio_server({"Nothing": handler}, mode=None) as address:
        async with aio_channel(address) as channel:
            await asyncio.create_task(channel.close())  # closed here
            with pytest.raises(grpc.aio.UsageError):
                channel.stream_stream(path("Nothing"))()
    (finding,) = found()
    assert finding.rule == "closed-channel"
    assert finding.owner is not None
    assert finding.owner.site is not None
    assert finding.owner.site.code.endswith("# closed here")


async def _nothing(requests: Any, context: Any) -> None:
    return
