"""The report of a refusal: parties, places, times, the unguarded outcome, and the fix."""

from __future__ import annotations

import asyncio
import inspect
import re
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from support.stage import BULK, NARROW
from support.staging import (
    AsyncGate,
    Gate,
    aio_channel,
    aio_server,
    in_thread,
    inside_grpc,
    outcome,
    path,
    settle,
    sync_channel,
    sync_server,
    telling,
    wait,
    within,
)

from grpc_guard import ConcurrencyError

RPC = path("Stream")
DURATION = r"\d+(\.\d+)?(e-\d+)? (ms|s|min)"


@contextmanager
def sync_call() -> Any:
    """Yield a guarded call whose messages are withheld, and what releases them."""
    gate = Gate()

    def numbers(request: Any, context: Any) -> Any:
        gate.park()
        yield from (b"1", b"2")

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    with sync_server(methods, mode=None) as address, sync_channel(address) as channel:
        try:
            yield channel.unary_stream(RPC)(b""), gate
        finally:
            gate.open()


@asynccontextmanager
async def aio_call() -> Any:
    """Yield a guarded call whose messages are withheld."""
    gate = AsyncGate()

    async def numbers(request: Any, context: Any) -> Any:
        await gate.park()
        yield b"1"

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    async with aio_server(methods, mode=None) as address, aio_channel(address) as channel:
        yield channel.unary_stream(RPC)(b"")


def line_of(function: Callable[..., Any], text: str) -> int:
    """Return the number of the line of `function` that holds `text`."""
    lines, start = inspect.getsourcelines(function)
    [offset] = [number for number, line in enumerate(lines) if text in line]
    return start + offset


def assert_at(party: Any, function: Callable[..., Any], code: str) -> None:
    """Assert that the stack of `party` ends at the line `code` of `function`, and is folded."""
    site = party.site
    assert (site.file, site.function, site.code) == (__file__, function.__name__, code)
    assert site.line == line_of(function, code)
    for frame in party.stack:
        assert not re.search(r"[/\\](grpc_guard|grpc|asyncio|wrapt|concurrent)[/\\]", frame.file)
        assert not frame.file.endswith("threading.py")


def functions(party: Any) -> list[str]:
    return [frame.function for frame in party.stack]


def consume(call: Any) -> Any:
    return next(call)


def intrude(call: Any) -> Any:
    return next(call)


def test_report_of_threads(found):
    """Both threads are named, and shown at their own line."""
    with sync_call() as (call, gate):
        owner = inside_grpc(consume, call, name="reader-1")
        refusal = in_thread(intrude, call, name="reader-2").exception()
        gate.open()
        assert owner.result() == b"1"
    [finding] = found()
    assert isinstance(refusal, ConcurrencyError)
    first, *rest = str(refusal).split("\n")
    assert first == finding.message
    assert re.sub(DURATION, "<duration>", first) == (
        f"concurrent-read: next by thread 'reader-2' on {RPC} (client, sync) refused: "
        "thread 'reader-1' has been in next for <duration>"
    )
    assert (finding.owner.kind, finding.owner.name) == ("thread", "reader-1")
    assert (finding.caller.kind, finding.caller.name) == ("thread", "reader-2")
    assert finding.owner.held_seconds > 0
    assert finding.caller.held_seconds is None
    assert_at(finding.owner, consume, "return next(call)")
    assert_at(finding.caller, intrude, "return next(call)")

    def stack(party: Any) -> list[str]:
        lines = []
        for frame in party.stack:
            lines.append(f'    File "{frame.file}", line {frame.line}, in {frame.function}')
            lines.append(f"      {frame.code}")
        return lines

    rule = finding.rule
    assert [re.sub(DURATION, "<duration>", line) for line in rest] == [
        "  owner:  thread 'reader-1' in next for <duration>",
        *stack(finding.owner),
        "  caller: thread 'reader-2' in next",
        *stack(finding.caller),
        f"  without the guard: {rule.unguarded('client', 'sync')}",
        f"  how to fix it: {rule.remedy}",
        f"  rule: concurrent-read ({rule.summary}); source: {rule.source}",
    ]


async def test_report_of_an_executor_thread(found):
    """A thread of a pool is an owner like any other."""
    with ThreadPoolExecutor(1, "pool") as pool, sync_call() as (call, gate):
        read, entered = telling(consume)
        parked = pool.submit(read, call)
        wait(entered)
        with pytest.raises(ConcurrencyError):
            intrude(call)
        gate.open()
        assert await within(asyncio.wrap_future(parked)) == b"1"
    [finding] = found()
    assert (finding.owner.kind, finding.owner.name) == ("thread", "pool_0")
    assert_at(finding.owner, consume, "return next(call)")
    assert (finding.caller.kind, finding.caller.name) == ("thread", "MainThread")


async def inner(call: Any) -> Any:
    return await call.read()


async def middle(call: Any) -> Any:
    return await inner(call)


async def outer(call: Any) -> Any:
    return await middle(call)


async def step(call: Any) -> Any:
    return await anext(aiter(call))


async def loop(call: Any) -> Any:
    async for message in call:
        return message


async def pages(call: Any) -> Any:
    while True:
        yield await call.read()


async def over_pages(call: Any) -> Any:
    async for page in pages(call):
        return page


async def books(call: Any) -> Any:
    async for page in pages(call):
        yield page


async def over_books(call: Any) -> Any:
    return [book async for book in books(call)]


async def next_page(call: Any) -> Any:
    return await anext(pages(call))


async def sent_page(call: Any) -> Any:
    async with aclosing(pages(call)) as opened:
        return await opened.asend(None)


@types.coroutine
def by_generator(call: Any) -> Any:
    return (yield from call.read().__await__())


async def over_generator(call: Any) -> Any:
    return await by_generator(call)


class Awaitable:
    def __init__(self, call: Any) -> None:
        self.call = call

    def __await__(self) -> Any:
        return self.call.read().__await__()


async def over_awaitable(call: Any) -> Any:
    return await Awaitable(call)


# How a task gets to its read, and the functions on its way
WAYS = [
    (inner, ["inner"]),
    (outer, ["outer", "middle", "inner"]),
    (step, ["step"]),
    (loop, ["loop"]),
    (over_pages, ["over_pages", "pages"]),
    (next_page, ["next_page", "pages"]),
    (sent_page, ["sent_page", "pages"]),
    (over_generator, ["over_generator", "by_generator"]),
    (over_awaitable, ["over_awaitable"]),
]


@pytest.mark.parametrize(("way", "names"), WAYS, ids=lambda value: getattr(value, "__name__", ""))
async def test_report_of_tasks(way, names, found):
    """A task is named and shown however deep below awaits and generators it reads."""
    async with aio_call() as call:
        owner = asyncio.create_task(way(call), name="reader-1")
        await settle()
        refused = asyncio.create_task(way(call), name="reader-2")
        with pytest.raises(ConcurrencyError) as refusal:
            await within(refused)
        owner.cancel()
        await asyncio.wait([owner])
    [finding] = found()
    operation = "__anext__" if way in (step, loop) else "read"
    assert re.sub(DURATION, "<duration>", str(refusal.value).partition("\n")[0]) == (
        f"concurrent-read: {operation} by task 'reader-2' on {RPC} (client, aio) refused: "
        f"task 'reader-1' has been in {operation} for <duration>"
    )
    assert functions(finding.owner) == names
    assert functions(finding.caller) == names
    assert {frame.file for frame in finding.owner.stack} == {__file__}
    assert finding.owner.site == finding.caller.site


async def test_report_of_generators_below_a_comprehension(found):
    """So is one below async generators that drive each other."""
    async with aio_call() as call:
        owner = asyncio.create_task(over_books(call), name="reader-1")
        await settle()
        with pytest.raises(ConcurrencyError):
            await inner(call)
        owner.cancel()
        await asyncio.wait([owner])
    [finding] = found()
    assert functions(finding.owner)[0] == "over_books"
    assert functions(finding.owner)[-2:] == ["books", "pages"]
    assert finding.owner.name == "reader-1"


async def test_report_among_many_tasks(found):
    """The owner is found among tasks that wait for other things."""
    forever = asyncio.Event()
    async with aio_call() as call:
        others = [asyncio.create_task(forever.wait(), name=f"other-{n}") for n in range(50)]
        owner = asyncio.create_task(outer(call), name="reader-1")
        await settle()
        with pytest.raises(ConcurrencyError):
            await inner(call)
        for task in (*others, owner):
            task.cancel()
        await asyncio.wait([*others, owner])
    [finding] = found()
    assert finding.owner.name == "reader-1"
    assert finding.caller.name == "test"
    assert_at(finding.owner, inner, "return await call.read()")


async def test_report_of_a_write(found):
    """A writer is named as a reader is."""

    async def never(requests: Any, context: Any) -> bytes:
        await gate.park()
        return b""

    async def send(call: Any) -> None:
        await call.write(BULK)

    async def half_close(call: Any) -> None:
        await call.done_writing()

    gate = AsyncGate()
    methods = {"Stream": grpc.stream_unary_rpc_method_handler(never)}
    async with (
        aio_server(methods, mode=None, options=NARROW) as address,
        aio_channel(address) as channel,
    ):
        call = channel.stream_unary(RPC)()
        owner = asyncio.create_task(send(call), name="writer-1")
        await settle()
        refused = asyncio.create_task(half_close(call), name="writer-2")
        with pytest.raises(ConcurrencyError) as refusal:
            await within(refused)
        owner.cancel()
        await asyncio.wait([owner])
        gate.open()
    [finding] = found()
    assert re.sub(DURATION, "<duration>", str(refusal.value).partition("\n")[0]) == (
        f"concurrent-write: done_writing by task 'writer-2' on {RPC} (client, aio) refused: "
        "task 'writer-1' has been in write for <duration>"
    )
    assert functions(finding.owner) == ["send"]
    assert functions(finding.caller) == ["half_close"]


async def test_report_of_a_refused_yield(found):
    """A handler that yields while its helper writes is refused, and shown at the yield."""
    refused = asyncio.get_running_loop().create_future()

    async def numbers(request, context):
        writer = asyncio.create_task(context.write(BULK), name="writer")
        await settle()
        try:
            yield b"too early"
        except ConcurrencyError as error:
            refused.set_result(error)
        await writer

    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    async with (
        aio_server(methods, options=NARROW) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        error = await within(refused)  # no reader comes before: the helper is inside until then
        assert [len(message) async for message in call] == [len(BULK)]
    [finding] = found()
    assert error.finding == finding
    assert (finding.owner.name, finding.owner.operation) == ("writer", "context.write")
    assert (finding.caller.kind, finding.caller.operation) == ("task", "yield")
    assert finding.caller.site.code == 'yield b"too early"'
    assert finding.caller.site.function == "numbers"


async def test_report_of_a_yield(found):
    """What a handler yielded is being written: its task is the owner, shown at the yield."""
    yielding, refused = asyncio.Event(), []

    async def numbers(request: Any, context: Any) -> Any:
        contexts.append(context)
        yielding.set()
        yield BULK

    contexts: list[Any] = []
    methods = {"Stream": grpc.unary_stream_rpc_method_handler(numbers)}
    async with (
        aio_server(methods) as address,
        aio_channel(address, mode=None, options=NARROW) as channel,
    ):
        call = channel.unary_stream(RPC)(b"")
        await within(yielding.wait())
        with pytest.raises(ConcurrencyError) as refusal:
            await contexts[0].write(b"")
        refused.append(refusal.value)
        assert len(await within(call.read())) == len(BULK)
    [finding] = found()
    assert re.sub(DURATION, "<duration>", str(refused[0]).partition("\n")[0]) == (
        f"concurrent-write: context.write by task 'test' on {RPC} (server, aio) refused: "
        f"task {finding.owner.name!r} has been in yield for <duration>"
    )
    assert functions(finding.owner) == ["numbers"]
    assert finding.owner.site.code == "yield BULK"


def test_report_of_a_handlers_thread(found):
    """On a server the handler's own thread may be the owner, or the caller."""
    gate = Gate()

    def record(requests: Any, context: Any) -> bytes:
        owner = inside_grpc(consume, requests, name="reader-1")
        errors.append(outcome(intrude, requests))
        gate.open()
        return owner.result()

    def requests() -> Any:
        yield gate.park(b"1")

    errors: list[Any] = []
    methods = {"Stream": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        assert channel.stream_unary(RPC)(requests()) == b"1"
    [finding] = found()
    assert re.sub(DURATION, "<duration>", str(errors[0]).partition("\n")[0]) == (
        f"concurrent-read: next by thread 'worker_0' on {RPC} (server, sync) refused: "
        "thread 'reader-1' has been in next for <duration>"
    )
    assert_at(finding.owner, consume, "return next(call)")
    assert functions(finding.caller)[-3:] == ["record", "outcome", "intrude"]


def test_report_of_grpcs_own_sender(found):
    """gRPC's sender is the owner of a shared generator, shown at the generator's line."""
    gate = Gate()

    def requests() -> Any:
        yield gate.park(b"1")

    def record(requests: Any, context: Any) -> bytes:
        return b"".join(requests)

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods, mode=None) as address, sync_channel(address) as channel:
        shared = requests()
        start = channel.stream_unary(RPC)
        call = start.future(shared)
        with gate.held(), pytest.raises(ConcurrencyError) as refusal:
            start(shared)
        assert call.result() == b"1"
    [finding] = found()
    name = f"{test_report_of_grpcs_own_sender.__name__}.<locals>.requests"
    assert str(refusal.value).partition("\n")[0] == (
        f"shared-iterator: next(request_iterator) by thread 'MainThread' on {RPC} (client, sync) "
        f"refused: generator {name!r} already feeds a live RPC, {RPC}"
    )
    assert finding.owner.kind == "thread"
    assert functions(finding.owner)[0] == "requests"


def test_report_of_an_ended_handler(found):
    """Where there is no owner, the report has no section about one."""
    leaked: list[Any] = []

    def record(requests: Any, context: Any) -> bytes:
        leaked.append(requests)
        return b""

    methods = {"Stream": grpc.stream_unary_rpc_method_handler(record)}
    with sync_server(methods) as address, sync_channel(address) as channel:
        channel.stream_unary(RPC)(iter(()))
        with pytest.raises(ConcurrencyError) as refusal:
            intrude(leaked[0])
    [finding] = found()
    assert finding.owner is None
    assert [line.partition(":")[0].strip() for line in str(refusal.value).split("\n")[1:2]] == [
        "caller"
    ]
    assert_at(finding.caller, intrude, "return next(call)")
