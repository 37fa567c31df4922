"""Tasks that go on to another operation of the same stream: most need not be followed to be told."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from inside import core_which
from support.readers import HANDLERS, begun, line, opened, readers
from support.staging import aio_channel, aio_server, path, within

from grpc_guard import snapshot

if core_which.compiled() is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)


pytestmark = pytest.mark.usefixtures("followed")


class Turns:
    """A handler that reads at one line after the other, and its tasks."""

    def __init__(self) -> None:
        self.tasks: list[Any] = []

    async def handle(self, requests: Any, context: Any) -> None:
        self.tasks.append(asyncio.current_task())
        await context.read()  # first
        await context.read()  # second
        await context.read()  # third

    async def deeper(self, requests: Any, context: Any) -> None:
        self.tasks.append(asyncio.current_task())
        for at in range(2):
            await deeper(context, at)


async def deeper(context: Any, at: int) -> None:
    if at == 0:
        await context.read()  # deeper
    else:
        await context.read()  # deeper still


class Around(grpc.aio.ServerInterceptor):
    """Awaits each handler in a line of the program."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        plain = handler.stream_stream

        async def around(requests: Any, context: Any) -> None:
            await plain(requests, context)  # around

        return grpc.stream_stream_rpc_method_handler(around)


def handled() -> list[list[str]]:
    """Return the lines of who reads the streams of servers, in their order; the handlers are at the same ones."""
    seen = snapshot()
    owners = [one.read.owner for one in seen.streams if one.side == "server" and one.read]
    stacks = [[frame.code for frame in owner.stack] for owner in owners if owner is not None]
    (server,) = seen.servers
    handlers = [[frame.code for frame in one.handler.stack] for one in server.handlers]
    return stacks if sorted(handlers) == sorted(stacks) else []  # one of them has begun just now


def awaited(word: str) -> str:
    return f"await context.read()  # {word}"


async def greeted(channel: Any, count: int) -> Any:
    """Return a call whose handler has read so many messages, and waits for the next one."""
    call = channel.stream_stream(path("Echo"))()
    for _ in range(count):
        await within(call.write(b"0"))
    await within(call.wait_for_connection())
    return call


async def until(looked: Callable[[], Any], seen: Any) -> None:
    """Look until this is seen."""

    async def look() -> None:
        for _ in itertools.count():
            if looked() == seen:
                break
            await asyncio.sleep(0)

    await within(look())


def handlers_of(function: Any) -> dict[str, Any]:
    return {"Echo": grpc.stream_stream_rpc_method_handler(function)}


async def test_a_handler_at_a_line_where_another_one_was(followed: list[Any]) -> None:
    """What is said of one handler at a line is true of the next one: it is not followed."""
    turns = Turns()
    async with aio_server(handlers_of(turns.handle)) as address, aio_channel(address) as channel:
        ahead = await greeted(channel, 1)
        await until(handled, [[awaited("second")]])
        behind = await greeted(channel, 0)
        for _ in range(2):
            await until(handled, [[awaited("second")], [awaited("first")]])
        followed.clear()
        await within(behind.write(b"1"))
        await until(handled, [[awaited("second")], [awaited("second")]])
        assert not any(task in followed for task in turns.tasks)
        await within(ahead.write(b"1"))  # where nobody has been
        await until(handled, [[awaited("third")], [awaited("second")]])
        assert [task in followed for task in turns.tasks] == [True, False]
        for call in ahead, behind:
            call.cancel()


async def test_a_handler_in_which_another_coroutine_reads(followed: list[Any]) -> None:
    """It is followed each time that it goes on: its own coroutine does not say where."""
    turns = Turns()
    async with aio_server(handlers_of(turns.deeper)) as address, aio_channel(address) as channel:
        call = await greeted(channel, 0)
        first, second = (
            ["await deeper(context, at)", awaited(one)] for one in ("deeper", "deeper still")
        )
        for _ in range(2):
            await until(handled, [first])
        followed.clear()
        await within(call.write(b"1"))
        await until(handled, [second])
        assert turns.tasks[0] in followed
        call.cancel()


async def test_a_handler_within_a_line_of_the_program(followed: list[Any]) -> None:
    """What is shown around it is not that of a handler that stands alone at the same line."""
    async with aio_server(handlers_of(Turns().handle), interceptors=[Around()]) as address:
        async with aio_channel(address) as channel:
            calls = [await greeted(channel, 0)]
            around = "await plain(requests, context)  # around"
            for word in "first", "second", "third":
                for _ in range(2):
                    await until(handled, [[around, awaited(word)]])
                await within(calls[0].write(b"1"))
            calls[0].cancel()


async def test_a_task_that_goes_on_to_what_others_await(followed: list[Any]) -> None:
    """Of its own coroutine the line says all; the operation is the one that it is in now."""

    async def converse(call: Any) -> None:
        await call.read()  # once
        await call.read()  # twice

    async with aio_server(HANDLERS) as address, aio_channel(address) as channel:
        calls = [await opened(channel) for _ in range(2)]
        tasks = [await begun(converse(one)) for one in calls]
        await within(calls[0].write(b"1"))
        await until(lambda: line(readers()[0]), "await call.read()  # twice")
        for _ in range(2):
            readers()
        followed.clear()
        written = time.monotonic()
        await within(calls[1].write(b"1"))
        await until(lambda: line(readers()[1]), "await call.read()  # twice")
        assert tasks[1] not in followed
        after = readers()[1]
        assert after is not None
        assert after.held_seconds is not None
        assert time.monotonic() - after.held_seconds >= written  # it began after that
        for call in calls:
            call.cancel()
        await asyncio.wait(tasks)


async def test_a_write_that_waits_is_not_followed_again(followed: list[Any]) -> None:
    """Only where the messages of a request iterator are sent is it asked each time which call that is."""

    async def writes(call: Any) -> None:
        while True:
            await call.write(bytes(1 << 20))

    async def unread(requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    async with aio_server(handlers_of(unread)) as address, aio_channel(address) as channel:
        call = channel.stream_stream(path("Echo"))()
        writing = await begun(writes(call))

        def look() -> tuple[str, bool]:
            followed.clear()
            (stream,) = [one for one in snapshot().streams if one.side == "client"]
            assert stream.write is not None
            return line(stream.write.owner), writing in followed

        await until(look, ("await call.write(bytes(1 << 20))", False))
        writing.cancel()
        await asyncio.wait({writing})
