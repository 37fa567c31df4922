"""snapshot(): what every live stream, channel and server is doing, and what follows from it."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import gc
import json
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import (
    Api,
    Mode,
    Side,
    Stream,
    core_fields,
    deductions,
    inspect_lines,
    inspect_messages,
    inspect_wording,
    process_noting,
    sight,
    sync_calls,
    tables,
    waits,
)
from support.sharing import until_collected
from support.stage import BULK, NARROW
from support.staging import (
    PATIENCE,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    path,
    settle,
    sync_channel,
    sync_server,
    wait,
    within,
)

from grpc_guard import Finding, guarded, snapshot, status
from grpc_guard.inspection import ServerSnapshot, Snapshot, StreamSnapshot

US, SU, SS, UU = (
    grpc.unary_stream_rpc_method_handler,
    grpc.stream_unary_rpc_method_handler,
    grpc.stream_stream_rpc_method_handler,
    grpc.unary_unary_rpc_method_handler,
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deduce without waiting for the second after which a write is said to wait."""
    monkeypatch.setattr(deductions, "MOMENT", 1e-6)


def streams(taken: Snapshot, method: str, side: str = "client") -> list[StreamSnapshot]:
    return [one for one in taken.streams if one.rpc == path(method) and one.side == side]


def server_of(taken: Snapshot, method: str) -> ServerSnapshot:
    (server,) = (
        one for one in taken.servers if path(method) in {handler.rpc for handler in one.handlers}
    )
    return server


def until(look: Callable[[], Any]) -> Any:
    """Look again until something is seen; fail if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, "never seen"
    return seen


async def until_async(look: Callable[[], Any]) -> Any:
    """The same, while the loop turns."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline, "never seen"
        await settle()
    return seen


def deduced(taken: Snapshot, kind: str) -> list[str]:
    return [one.text for one in taken.deductions if one.kind == kind]


# Streams


def hold(gate: Gate) -> Any:
    def handler(request: Any, context: Any) -> Iterator[bytes]:
        yield b"0"
        gate.park()

    return handler


def test_a_reader() -> None:
    """The reader is named with its line, the origin with its own; before that nobody has read."""
    gate = Gate()
    with sync_server({"Read": US(hold(gate))}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Read"))(b"")
        (idle,) = streams(snapshot(), "Read")
        assert idle.read is not None
        assert (idle.side, idle.api, idle.mode, idle.state) == ("client", "sync", "raise", "open")
        assert (idle.read.owner, idle.read.last_began_seconds, idle.write) == (None, None, None)
        assert idle.origin is not None
        assert idle.origin.site is not None
        assert idle.origin.site.function == "test_a_reader"
        assert next(call) == b"0"
        taken = snapshot()
        (after,) = streams(taken, "Read")
        assert after.read is not None
        assert (after.read.owner, after.read.last) == (None, "thread 'MainThread'")
        assert after.read.last_at is not None
        assert after.read.last_at.code == "taken = snapshot()"
        assert f"    that thread is now at {after.read.last_at.file}:" in inspect_wording.dump(
            taken
        )
        assert after.read.last_began_seconds is not None
        with gate.held():
            reader = inside_grpc(next, call, name="reader")
            taken = snapshot()
            (inside,) = streams(taken, "Read")
            assert inside.read is not None
            assert inside.read.owner is not None
            assert (inside.read.owner.kind, inside.read.owner.name) == ("thread", "reader")
            assert (inside.read.owner.operation, inside.read.last) == ("next", None)
            assert inside.read.owner.stack
            (channel_seen,) = (one for one in taken.channels if one.number == inside.channel)
            assert (channel_seen.target, channel_seen.state, channel_seen.streams) == (
                address,
                "ready",
                1,
            )
        assert isinstance(reader.exception(), StopIteration)
        assert streams(snapshot(), "Read") == []
        channel.close()
        assert "closed" in {one.state for one in snapshot().channels if one.target == address}


async def test_tasks() -> None:
    """Tasks are found from any thread, and the one that runs at this very moment as well."""
    seen: list[Snapshot] = []

    def look(message: bytes) -> bytes:
        seen.append(snapshot())  # within the read: its task runs now
        return message

    async def handler(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request)

    async def converse(call: Any) -> None:
        await call.read()
        await call.read()

    async with aio_server({"Talk": SS(handler)}) as address, aio_channel(address) as channel:
        call = channel.stream_stream(path("Talk"), response_deserializer=look)()
        reader = asyncio.create_task(converse(call), name="reader")
        await call.write(b"a")
        await until_async(lambda: seen)
        await settle()
        seen.append(await within(in_thread(snapshot, name="onlooker").as_future()))
        call.cancel()
        await asyncio.wait({reader})
    for taken in seen:
        (stream,) = streams(taken, "Talk")
        assert stream.read is not None
        assert stream.read.owner is not None
        assert (stream.read.owner.kind, stream.read.owner.name) == ("task", "reader")
        assert stream.read.owner.site is not None
        assert stream.read.owner.site.function in {"converse", "look"}
        (handling,) = server_of(taken, "Talk").handlers
        assert (handling.handler.kind, handling.over) == ("task", None)
        assert handling.handler.held_seconds is not None
        assert handling.handler.site is not None
        assert handling.handler.site.function == "handler"


def test_waiting_for_a_turn(found: Any, reported: Any) -> None:
    """In mode serialize those who wait are named, by status() as well."""
    gate = Gate()
    park = gate.park_at(b"0")

    def numbers(request: Any, context: Any) -> Iterator[bytes]:
        yield from (b"0", b"1")

    with sync_server({"Turns": US(numbers)}) as address:
        with sync_channel(address, mode="serialize") as channel:
            call = channel.unary_stream(path("Turns"), response_deserializer=park)(b"")
            first = in_thread(next, call, name="first")
            with gate.held():
                second = in_thread(next, call, name="second")
                reported.get(timeout=PATIENCE)
                (stream,) = streams(snapshot(), "Turns")
                assert stream.read is not None
                assert stream.read.owner is not None
                assert stream.read.owner.name == "first"
                assert [one.name for one in stream.read.waiting] == ["second"]
                assert "thread 'second' waits for its turn to next" in inspect_wording.dump(
                    snapshot()
                )
                assert [one.name for one in status(call).waiting] == ["second"]
            assert (first.result(), second.result()) == (b"0", b"1")
            assert list(call) == []
    assert [finding.rule for finding in found()] == ["concurrent-read"]


async def test_tasks_that_wait_for_a_turn(found: Any) -> None:
    """So are tasks, and a handler that waits to send what it yields."""
    seen: list[Any] = []

    async def handler(request: Any, context: Any) -> Any:
        writer = asyncio.create_task(context.write(BULK), name="writer")
        await settle()
        asyncio.get_running_loop().call_soon(lambda: seen.append((snapshot(), status(context))))
        yield b"yielded"
        await writer

    async with aio_server({"Yield": US(handler)}, mode="serialize") as address:
        async with aio_channel(address, options=NARROW) as channel:
            call = channel.unary_stream(path("Yield"))(b"")
            await until_async(lambda: seen)
            assert len([message async for message in call]) == 2
    taken, now = seen[0]
    (stream,) = streams(taken, "Yield", "server")
    assert stream.write is not None
    assert stream.write.owner is not None
    assert stream.write.owner.name == "writer"
    assert [one.operation for one in stream.write.waiting] == ["yield"]
    assert [one.operation for one in now.waiting] == ["yield"]
    found()


# Deductions


def both_stuck(taken: Snapshot) -> Snapshot | None:
    return taken if len(deduced(taken, "flow-control")) == 2 else None


def both_parked(taken: Snapshot, method: str) -> Snapshot | None:
    """As both_stuck(), and the handler was there, and did not run, at any moment of the look."""
    if both_stuck(taken) is None:
        return None
    handling = [
        one for server in taken.servers for one in server.handlers if one.rpc == path(method)
    ]
    return taken if handling and handling[0].handler.site is not None else None


@pytest.mark.parametrize("is_counted", [False, True], ids=["plain", "counted"])
def test_both_write_and_nobody_reads(is_counted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side waits for the other to read: said of both, and where their generators stand."""
    method = f"Stuck{is_counted}"  # the other one's streams may be there still
    monkeypatch.setattr(core_fields, "counting", is_counted)
    is_stuck = threading.Event()

    def echo(requests: Any, context: Any) -> Iterator[bytes]:
        for request in requests:
            yield request
            yield request

    def requests() -> Iterator[bytes]:
        for number in range(100):
            if number == 2:
                is_stuck.set()
            yield BULK

    with sync_server({method: SS(echo)}, options=NARROW) as address:
        with sync_channel(address, options=NARROW) as channel:
            call = channel.stream_stream(path(method))(requests())
            taken = until(lambda: both_parked(snapshot(), method))
            (client,), (server,) = streams(taken, method), streams(taken, method, "server")
            call.cancel()
    assert client.write is not None
    assert (client.write.unsent, client.write.owner) == (True, None)
    assert client.write.suspended_at is not None
    assert client.write.suspended_at.code == "yield BULK"
    assert server.write is not None
    assert server.write.suspended_at is not None
    assert server.write.suspended_at.code == "yield request"
    (handling,) = server_of(taken, method).handlers
    assert handling.handler.site == server.write.suspended_at
    said = deduced(taken, "flow-control")[0]
    rpc = f"{path(method)} (client, sync)"
    assert said.startswith(f"nobody has ever read from {rpc} while a message cannot be sent")
    text = inspect_wording.dump(taken)
    assert "gRPC has a message that it cannot send yet" in text
    assert "its generator is suspended at" in text


async def test_a_task_that_writes_and_nobody_reads() -> None:
    """A write of a task says since when it waits; a message of an async iterator is seen as well."""

    async def deaf(requests: Any, context: Any) -> None:
        await context.read()
        await asyncio.Event().wait()

    async def requests() -> Any:
        while True:
            yield BULK

    async with aio_server({"Deaf": SS(deaf)}, options=NARROW) as address:
        async with aio_channel(address, options=NARROW) as channel:
            start = channel.stream_stream(path("Deaf"))
            calls = [start(), start(requests())]
            await within(calls[0].wait_for_connection())

            async def write() -> None:
                while True:
                    await calls[0].write(BULK)

            writer = asyncio.create_task(write(), name="writer")
            taken = await until_async(lambda: both_stuck(snapshot()))
            for call in calls:
                call.cancel()
            await asyncio.wait({writer})
    said = deduced(taken, "flow-control")
    nobody = f"nobody has ever read from {path('Deaf')} (client, aio) while"
    assert said[0].startswith(f"{nobody} the write of task 'writer' has waited")
    assert re.search(r" at .*test_snapshot\.py:\d+; the peer has to read before", said[0])
    assert said[1].startswith(f"{nobody} a message cannot be sent")
    iterated = streams(taken, "Deaf")[1].write
    assert iterated is not None
    assert iterated.suspended_at is not None
    assert iterated.suspended_at.code == "yield BULK"


def test_a_write_while_somebody_reads() -> None:
    """Nothing is deduced of a stream that is read, or that has nothing to read."""
    gate = Gate()

    def deaf(requests: Any, context: Any) -> bytes:
        gate.park()
        return b""

    def deaf_to_many(requests: Any, context: Any) -> Iterator[bytes]:
        gate.park()
        yield b""

    def requests() -> Iterator[bytes]:
        while True:
            yield BULK

    def unsent(taken: Snapshot) -> Snapshot | None:
        seen = [one.write for one in [*streams(taken, "One"), *streams(taken, "Many")]]
        return taken if all(write is not None and write.unsent for write in seen) else None

    methods = {"One": SU(deaf), "Many": SS(deaf_to_many)}
    with sync_server(methods, options=NARROW) as address, sync_channel(address) as channel:
        future = channel.stream_unary(path("One")).future(requests())
        call = channel.stream_stream(path("Many"))(requests())
        reader = inside_grpc(next, call, name="reader")
        with gate.held():
            taken = until(lambda: unsent(snapshot()))
            client = {one.number for one in taken.streams if one.side == "client"}
            said = [one for one in taken.deductions if one.kind == "flow-control"]
            assert [one for one in said if set(one.streams) & client] == []
        assert reader.result() == b""
        call.cancel()
        future.cancel()


@pytest.mark.parametrize(
    ("timeout", "waits"), [((), "waits"), ((PATIENCE,), "waits, with a time-out,")]
)
def test_joining_a_reader(timeout: Any, waits: str) -> None:
    """Who joins a thread that is inside a stream is told, and that thread's operation."""
    gate = Gate()
    with sync_server({"Join": US(hold(gate))}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Join"))(b"")
        next(call)
        with gate.held():
            reader = inside_grpc(next, call, name="reader")
            stopper = in_thread(reader._thread.join, *timeout, name="stopper")
            (text,) = until(lambda: deduced(snapshot(), "joined"))
        assert stopper.result() is None
    assert text.startswith(
        f"thread 'stopper' {waits} for the end of thread 'reader', which has been in next of "
    )
    # The thread has no line of the program but that of what runs it.
    assert re.search(r"; thread 'stopper' is at .*staging\.py:\d+$", text)


async def test_awaiting_a_reader() -> None:
    """Who awaits a task that is inside a stream is told as well."""

    async def silent(request: Any, context: Any) -> None:
        await asyncio.Event().wait()

    async def stop(task: Any) -> None:
        await task

    async with aio_server({"Await": US(silent)}) as address, aio_channel(address) as channel:
        call = channel.unary_stream(path("Await"))(b"")
        reader = asyncio.create_task(call.read(), name="reader")
        stopper = asyncio.create_task(stop(reader), name="stopper")
        await settle()
        await settle()
        (text,) = deduced(snapshot(), "joined")
        call.cancel()
        await asyncio.wait({stopper, reader})
    assert text.startswith("task 'stopper' waits for the end of task 'reader'")
    assert re.search(rf"; task 'stopper' is at {re.escape(__file__)}:\d+$", text)


def test_waiting_in_a_circle(found: Any, reported: Any) -> None:
    """An owner that waits for who stands in line behind it is told as a circle."""
    gate = Gate()

    class Numbers:
        def __next__(self) -> int:
            gate.park()
            joined = second.popleft()
            while not is_seen.is_set():  # that is how the circle ends
                joined._thread.join(0.1)
            return 0

        def is_active(self) -> bool:
            return True

    is_seen = threading.Event()
    second: collections.deque[Any] = collections.deque()
    call: Any = sync_calls.responses_of(
        Numbers(), Stream("/Circle", Side.CLIENT, Api.SYNC, Mode.SERIALIZE)
    )
    first = in_thread(next, call, name="first")
    gate.wait()
    waiter = in_thread(next, call, name="second")
    second.append(waiter)
    reported.get(timeout=PATIENCE)
    gate.open()
    try:
        said = until(lambda: deduced(snapshot(), "circular-wait"))
    finally:
        is_seen.set()
    assert first.result() == 0
    assert isinstance(waiter.exception(), IndexError)  # nobody is left to be joined
    assert said[0] in {
        f"thread {one!r} waits for thread {two!r}, which waits for thread {one!r}: "
        f"none of them can go on before the time-out of thread 'first'"
        for one, two in (("first", "second"), ("second", "first"))
    }
    found()


@pytest.mark.parametrize(
    ("kind", "is_timed", "ends"),
    [
        ("thread", False, "none of them can go on"),
        ("thread", True, "none of them can go on before the time-out of thread 'b'"),
        ("task", False, "none of them can go on unless a task is cancelled, as by a time-out"),
    ],
)
def test_how_a_circle_may_end(kind: str, is_timed: bool, ends: str) -> None:
    """Of a circle no more is said than is certain: a time-out, or whoever cancels a task, ends it."""
    a, b = (waits.Party(kind, name, (kind, name)) for name in "ab")
    seen = sight.Sight([])
    seen.joins[:] = waits.Wait(a, b), waits.Wait(b, a, is_timed)
    (said,) = deductions._waits([], seen)
    chain = f"{kind} 'a' waits for {kind} 'b', which waits for {kind} 'a'"
    assert (said.kind, said.text) == ("circular-wait", f"{chain}: {ends}")


# Servers


@pytest.mark.parametrize("is_noted", [False, True])
@pytest.mark.parametrize("how", ["generic", "registered"])
def test_a_server_without_a_free_thread(
    how: str, is_noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unary handlers are seen too, and who waits, and which RPC is over already."""
    gate, unary = Gate(), Gate()
    if is_noted:  # as under grpc-guard run: a note is one more attribute of each piece of work
        note = process_noting._noting_method("submit")
        kind = concurrent.futures.thread._WorkItem
        monkeypatch.setattr(kind, "__init__", note(kind.__init__))

    def full(taken: Snapshot) -> Snapshot | None:
        server = server_of(taken, "Held")
        is_over = any(one.over for one in server.handlers)
        return taken if is_over and server.waiting else None

    methods = {
        "Held": US(hold(gate)),
        "Unary": UU(lambda request, context: unary.park(b"")),
    }
    with (
        guarded("off", thresholds={"starved_server_seconds": 3600}),  # it is not what is tested
        sync_server({}),  # another one, which handles nothing
        sync_server(methods, workers=2, how=how) as address,
        sync_channel(address) as channel,
    ):
        call = channel.unary_stream(path("Held"))(b"")
        next(call)
        gate.wait()
        future = channel.unary_unary(path("Unary")).future(b"")
        unary.wait()
        waiting = channel.unary_stream(path("Held"))(b"")
        call.cancel()
        taken = until(lambda: full(snapshot()))
        gate.open()
        unary.open()
        assert future.result() == b""
        assert list(waiting) == [b"0"]
    server = server_of(taken, "Held")
    assert (server.api, server.pool_size, server.waiting) == ("sync", 2, (path("Held"),))
    assert [(one.rpc, one.over) for one in server.handlers] == [
        (path("Held"), True),
        (path("Unary"), False),  # the longest first
    ]
    for handler in server.handlers:
        assert handler.handler.held_seconds is not None
        assert "park" in {frame.function for frame in handler.handler.stack}
    assert deduced(taken, "pool-held") == [
        "all 2 threads of the pool are held, 1 of them by RPCs that are over; 1 RPC waits"
    ]
    (over,) = (one for one in streams(taken, "Held", "server") if one.state == "over")
    assert over.write is not None
    assert over.write.owner is not None
    text = inspect_wording.dump(taken)
    assert f"{path('Held')} waits for a thread" in text
    assert "though the RPC is over" in text


async def flood(request: Any, context: Any) -> Any:
    """Yield more than the client takes."""
    while True:
        yield BULK


@pytest.mark.parametrize("shape", ["US", "SS"])
async def test_a_handler_that_waits_in_a_yield(shape: str) -> None:
    """Its line is told; and that nobody reads, only where there is something to read."""
    start = {"US": "unary_stream", "SS": "stream_stream"}[shape]
    handler = {"US": US, "SS": SS}[shape](flood)
    async with aio_server({"Flood": handler}, options=NARROW) as address:
        async with aio_channel(address, options=NARROW) as channel:
            calls = [getattr(channel, start)(path("Flood"))(*(b"",)[: shape == "US"]) for _ in "ab"]

            def stuck() -> Snapshot | None:
                taken = snapshot()
                found = [one for one in streams(taken, "Flood", "server") if one.write is not None]
                waits = [one for one in found if one.write is not None and one.write.owner]
                return taken if len(waits) == len(calls) else None

            taken = await until_async(stuck)
            for call in calls:
                call.cancel()
    one, other = server_of(taken, "Flood").handlers
    for handled in one, other:
        assert handled.handler.site is not None
        assert handled.handler.site.code == "yield BULK"
    for stream in streams(taken, "Flood", "server"):
        assert (stream.read is None) == (shape == "US")
        assert stream.write is not None
        assert stream.write.owner is not None
        assert stream.write.owner.site == one.handler.site
    blamed = [text for text in deduced(taken, "flow-control") if "(server, aio)" in text]
    assert len(blamed) == {"US": 0, "SS": 2}[shape]
    table = list(tables.holders(taken))
    assert [line for line in table if line.startswith("server 1: ") and " at " in line]


async def test_handlers_of_aio_servers() -> None:
    """Unary handlers and those in a pool are seen, each with the server that serves it."""
    gate = Gate()

    async def unary(request: Any, context: Any) -> bytes:
        await asyncio.wrap_future(opened)
        return b""

    def streaming(request: Any, context: Any) -> Iterator[bytes]:
        gate.park()
        yield b""

    def handled(taken: Snapshot) -> Snapshot | None:
        seen = [handler for server in taken.servers for handler in server.handlers]
        is_in = any(one.rpc == path("Aio") and one.handler.site is not None for one in seen)
        return taken if is_in else None

    opened: concurrent.futures.Future[None] = concurrent.futures.Future()
    async with (
        aio_server({"Aio": UU(unary)}) as one,
        aio_server({"Pool": US(streaming)}) as two,
        aio_channel(one) as first,
        aio_channel(two) as second,
    ):
        response = first.unary_unary(path("Aio"))(b"")
        call = second.unary_stream(path("Pool"))(b"")
        read = asyncio.create_task(call.read())
        await within(in_thread(gate.wait).as_future())
        taken = await until_async(lambda: handled(snapshot()))
        opened.set_result(None)
        gate.open()
        assert (await response, await read) == (b"", b"")
    (coroutine,) = server_of(taken, "Aio").handlers
    (thread,) = server_of(taken, "Pool").handlers
    assert server_of(taken, "Aio").number != server_of(taken, "Pool").number
    assert coroutine.handler.site is not None
    assert coroutine.handler.held_seconds is not None
    assert (coroutine.handler.kind, coroutine.handler.site.function) == ("task", "unary")
    assert thread.handler.kind == "thread"
    assert "park" in {frame.function for frame in thread.handler.stack}


# The records


def test_keeping_nothing_alive() -> None:
    """A snapshot that is kept keeps no call: dropping the last reference still cancels it."""
    gate = Gate()
    ended = threading.Event()

    def handler(request: Any, context: Any) -> Iterator[bytes]:
        context.add_callback(ended.set)
        yield b"0"
        wait(ended)

    with sync_server({"Keep": US(handler)}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Keep"))(b"")
        next(call)
        kept = snapshot()
        reference = weakref.ref(call)
        del call
        until_collected(reference)
        wait(ended)
    assert streams(kept, "Keep")
    gate.open()


def test_the_collector_is_left_as_it_was() -> None:
    """The collector rests during the look, and then runs again if it ran before."""
    thresholds = gc.get_threshold()
    snapshot()
    assert gc.isenabled()
    assert gc.get_threshold() == thresholds
    gc.disable()
    try:
        snapshot()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_secret_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No payload, metadata value, argument or environment variable gets into a snapshot."""
    secret = "hunter" + str(2 * 21)
    monkeypatch.setenv("PLANTED", secret)
    monkeypatch.setattr("sys.argv", ["program", secret])
    gate = Gate()
    with sync_server({"Secret": US(hold(gate))}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Secret"))(
            secret.encode(), metadata=(("authorization", secret),)
        )
        next(call)
        with gate.held():
            reader = inside_grpc(next, call, name="reader")
            taken = snapshot()
        reader.exception()
    assert streams(taken, "Secret")
    assert secret not in inspect_wording.dump(taken)
    assert secret not in json.dumps(asdict(taken))
    assert secret.encode() not in inspect_messages.encoded(taken)


def test_findings_and_the_whole_text(found: Any) -> None:
    """The text has the process, its latest findings, its channels and servers."""
    gate = Gate()
    with sync_server({"Text": US(hold(gate))}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Text"))(b"")
        next(call)
        with gate.held():
            reader = inside_grpc(next, call, name="reader")
            with pytest.raises(RuntimeError):
                next(call)
            taken = snapshot()
        reader.exception()
    (finding,) = found()
    assert isinstance(finding, Finding)
    assert taken.findings == (finding,)
    text = inspect_wording.dump(taken)
    assert text.startswith(f"process {taken.pid} (")
    assert f"findings:\n  {finding.message}  x1\n" in text
    assert f": {address} (sync), ready, 1 live stream, made" in text


def test_a_deep_stack() -> None:
    """Of a deep stack the frames nearest to the line of the program are kept."""
    gate = Gate()

    def deep(depth: int) -> bytes:
        return next(call) if depth == 0 else deep(depth - 1)

    with sync_server({"Deep": US(hold(gate))}) as address, sync_channel(address) as channel:
        call = channel.unary_stream(path("Deep"))(b"")
        next(call)
        with gate.held():
            reader = inside_grpc(deep, 100, name="reader")
            (stream,) = streams(snapshot(), "Deep")
        reader.exception()
    assert stream.read is not None
    assert stream.read.owner is not None
    assert len(stream.read.owner.stack) == inspect_lines._DEPTH
    assert {frame.function for frame in stream.read.owner.stack} == {"deep"}
