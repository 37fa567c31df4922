"""Threads and tasks that are in no stream, and what event loops run at the moment of a snapshot."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import elsewhere, endpoints, inspect_wording, inspection_pb2
from support.staging import (
    PATIENCE,
    Gate,
    Party,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    path,
    run,
    settle,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import ConcurrencyError, guarded, snapshot
from grpc_guard.inspection import Snapshot, ThreadSnapshot

US, UU = grpc.unary_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler


def threads(taken: Snapshot) -> dict[str, ThreadSnapshot]:
    return {thread.name: thread for thread in taken.threads}


def codes(thread: ThreadSnapshot) -> list[str]:
    return [frame.code for frame in thread.stack]


def test_a_thread_that_waits_for_a_lock() -> None:
    """It is told with its line; who reads, who handles and who asks are not told again."""
    gate, waiting = Gate(), Gate()

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        yield b"0"
        gate.park()

    with sync_server({"Read": US(handler)}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Read"))(b"")
        next(call)
        with gate.held():
            reader = inside_grpc(next, call, name="reader")
            sender = in_thread(waiting.park, name="sender")
            waiting.wait()
            taken = snapshot()
            waiting.open()
            sender.result()
        reader.exception()
    found = threads(taken)
    assert found["sender"].task is None
    assert "self._wait(lambda: self._is_open)" in codes(found["sender"])
    assert not {"reader", threading.current_thread().name} & found.keys()
    assert not [name for name in found if name.startswith("ThreadPoolExecutor")]
    assert "threads in no stream:\n" in inspect_wording.dump(taken)


def blocked(kind: Any, handler: Any, gate: Gate, method: str) -> Snapshot:
    """Return a snapshot of a process whose event loop stands still in `handler`."""

    async def serve() -> None:
        async with aio_server({method: kind(handler)}) as address:
            async with aio_channel(address) as channel:
                if kind is US:
                    await within(channel.unary_stream(path(method))(b"").read())
                else:
                    await within(channel.unary_unary(path(method))(b""))

    serving: Party[None] = in_thread(lambda: run(serve()), name="loop")
    gate.wait()
    taken = snapshot()
    gate.open()
    serving.result()
    return taken


def test_a_handler_that_blocks_its_loop() -> None:
    """The handler is told with the line that blocks, and so is the thread of the loop."""
    gate = Gate()

    async def generator(request: Any, context: Any) -> Any:
        yield gate.park(b"")

    async def unary(request: Any, context: Any) -> bytes:
        return gate.park(b"")

    for kind, handler, line in (
        (US, generator, 'yield gate.park(b"")'),
        (UU, unary, 'return gate.park(b"")'),
    ):
        gate = Gate()
        taken = blocked(kind, handler, gate, "Block")
        (server,) = (one for one in taken.servers if one.api == "aio" and one.handlers)
        (handled,) = server.handlers
        assert handled.rpc == path("Block")
        assert line in [frame.code for frame in handled.handler.stack]
        thread = threads(taken)["loop"]
        assert thread.task == handled.handler.name
        assert thread.stack == handled.handler.stack
        text = f"'loop', whose event loop runs task {thread.task!r}\n"
        assert text in inspect_wording.dump(taken)


class Silent(asyncio.SelectorEventLoop):
    """Does not say which thread runs it, as loops that are not asyncio's."""

    def __getattribute__(self, name: str) -> Any:
        if name == "_thread_id" and "asyncio" not in sys._getframe(1).f_code.co_filename:
            raise AttributeError(name)
        return super().__getattribute__(name)


def test_a_loop_that_does_not_tell_its_thread() -> None:
    """The task that it runs is found by its coroutine."""
    gate = Gate()

    async def block() -> None:
        async with aio_server({"None": UU(lambda request, context: b"")}):
            gate.park()

    def serve() -> None:
        with asyncio.Runner(loop_factory=Silent) as runner:
            runner.run(block())

    serving = in_thread(serve, name="loop")
    gate.wait()
    taken = snapshot()
    gate.open()
    serving.result()
    thread = threads(taken)["loop"]
    assert thread.task is not None
    assert thread.task.startswith("Task-")
    assert codes(thread)[0] == "gate.park()"


def test_threads_of_the_same_name() -> None:
    """One is told though another of its name handles an RPC."""
    gate, other = Gate(), Gate()

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        threading.current_thread().name = "same"
        gate.park()
        yield b""

    with sync_server({"Read": US(handler)}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Read"))(b"")
        with gate.held():
            waiting = in_thread(other.park, name="same")
            other.wait()
            taken = snapshot()
            other.open()
            waiting.result()
        next(call)
    (thread,) = (one for one in taken.threads if one.name == "same")
    assert thread.stack


async def test_a_loop_that_waits() -> None:
    """It is not told; one that a callback blocks is, without a task."""
    gate, name = Gate(), threading.current_thread().name
    loop = asyncio.get_running_loop()

    def ask() -> Snapshot:
        deadline = time.monotonic() + PATIENCE
        while name in threads(snapshot()):
            assert time.monotonic() < deadline, "the loop never waits"
        loop.call_soon_threadsafe(gate.park)
        gate.wait()
        taken = snapshot()
        gate.open()
        return taken

    async with aio_server({"None": UU(lambda request, context: b"")}):
        taken = await within(in_thread(ask, name="asker").as_future())
    stuck = threads(taken)[name]
    assert stuck.task is None
    assert "self._wait(lambda: self._is_open)" in codes(stuck)


async def test_tasks_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is told with its line; who reads, who handles and who asks are not told again."""
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(request: Any, context: Any) -> AsyncIterator[bytes]:
        yield b"0"
        await asyncio.wait_for(queue.get(), PATIENCE)

    async def relay() -> None:
        await asyncio.wait_for(queue.get(), PATIENCE)

    def named() -> dict[str, list[str]]:
        return {task.name: [frame.code for frame in task.stack] for task in snapshot().tasks}

    async with aio_server({"Read": US(handler)}) as address, aio_channel(address) as channel:
        call = channel.unary_stream(path("Read"))(b"")
        await within(call.read())
        reader = asyncio.create_task(call.read(), name="reader")
        relays = [asyncio.create_task(relay(), name=f"relay {number}") for number in (10, 9)]
        waiting = "await asyncio.wait_for(queue.get(), PATIENCE)"
        while [at[-1] for name, at in named().items() if "relay" in name] != [waiting] * 2:
            await settle()
        while not any(one.handlers for one in snapshot().servers):
            await settle()
        taken = snapshot()
        found = named()
        monkeypatch.setattr(elsewhere, "_MOST", 3)
        assert snapshot().tasks == ()
        for _ in range(3):
            queue.put_nowait(b"")
        await within(asyncio.gather(reader, *relays))
    relaying = [name for name in found if name.startswith("relay")]
    assert relaying == ["relay 9", "relay 10"]
    assert not [name for name in found if name == "reader" or name.startswith("handler of")]
    asking = asyncio.current_task()
    assert asking is not None
    assert asking.get_name() not in found
    text = inspect_wording.dump(taken)
    assert "\ntasks in no stream:\n" in text
    assert "\n  'relay 9', 'relay 10'\n" in text


@pytest.mark.parametrize("name", [None, KeyError("name")])
def test_a_thread_without_a_name(name: object) -> None:
    """One whose class cannot tell it is called by its ident."""

    class Odd(threading.Thread):
        @property
        def name(self) -> Any:
            if self.ident is not None and isinstance(name, Exception):
                raise name
            return name

    gate = Gate()
    odd = Odd(target=gate.park, daemon=True)
    odd.start()
    gate.wait()
    found = threads(snapshot())
    gate.open()
    odd.join(PATIENCE)
    assert f"thread {odd.ident}" in found


def odd_tasks(name: object) -> type[asyncio.Task[None]]:
    """Return a class of tasks that tell this name; a class of errors they raise, each time a new one."""

    class Odd(asyncio.Task[None]):
        def get_name(self) -> Any:
            if isinstance(name, type):
                raise name("get_name")
            return name

    return Odd


NO_NAMES = pytest.mark.parametrize("name", [None, KeyError])


@NO_NAMES
async def test_a_task_without_a_name(name: object) -> None:
    """One whose class cannot tell it is told all the same."""

    async def wait() -> None:
        await end

    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()
    async with aio_server({"None": UU(lambda request, context: b"")}):
        odd = odd_tasks(name)(wait(), loop=loop)
        await settle()
        named = [task.name for task in snapshot().tasks]
        end.set_result(None)
        await within(odd)
    assert "(a task without a name)" in named


@NO_NAMES
async def test_streams_of_tasks_without_a_name(name: object, found: Any) -> None:
    """They are guarded and told as all others: servers, channels, streams, refusals and handlers."""
    loop, kind, nobody = asyncio.get_running_loop(), odd_tasks(name), "(a task without a name)"
    loop.set_task_factory(lambda _, coroutine, **options: kind(coroutine, loop=loop, **options))

    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def act() -> None:
        methods = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
        async with (
            aio_server(methods, mode=None) as address,
            aio_channel(address, mode=None) as channel,
        ):
            call = channel.stream_stream(path("Echo"))()
            await call.write(b"a")
            assert await call.read() == b"a"
            reader = asyncio.ensure_future(call.read())
            await settle()
            with pytest.raises(ConcurrencyError, match=re.escape(nobody)):
                await call.read()
            for taken in (snapshot(), inspection_pb2.Reply.FromString(endpoints.reply()).snapshot):
                stream = next(one for one in taken.streams if one.side == "client")
                (handler,) = taken.servers[-1].handlers
                told.append((stream.origin.name, stream.read.owner.name, handler.handler.name))
            await call.write(b"b")
            assert await reader == b"b"
            await call.done_writing()

    told: list[tuple[str, ...]] = []
    with guarded():
        await within(loop.create_task(act()))
    assert told == [(nobody, nobody, nobody)] * 2
    (finding,) = found()
    assert (finding.rule, finding.caller.name) == ("concurrent-read", nobody)


def test_threads_at_the_same_line() -> None:
    """The text names three of them, and counts the rest."""
    gate = Gate()
    parties = [in_thread(gate.park, name=f"worker {number}") for number in range(5)]
    gate.wait(5)
    text = inspect_wording.dump(snapshot())
    gate.open()
    for party in parties:
        party.result()
    assert "  'worker 0', 'worker 1', 'worker 2' and 2 more\n" in text
