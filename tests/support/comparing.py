"""A program is run twice, plain and guarded: it must not be able to tell which is which."""

from __future__ import annotations

import functools
import queue
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from inside import totals

import grpc_guard
from support.staging import Methods, aio_channel, aio_server, path, run, sync_channel, sync_server

T = TypeVar("T")

ROUNDS = 4  # messages of a conversation, each way


def compare(program: Callable[[], T]) -> T:
    """Return what `program` returns, the same plain and guarded, with nothing found.

    A run in which no stream was guarded would prove nothing, and fails.
    """
    plain = program()
    before = totals()[0]
    with grpc_guard.guarded("raise"):
        guarded = program()
    assert guarded == plain
    assert [finding.message for finding in grpc_guard.findings()] == []
    assert totals()[0] > before, "no stream was guarded"
    return plain


def compare_async(program: Callable[[], Any]) -> Any:
    """Compare two runs of a coroutine function, each on a loop of its own."""
    return compare(lambda: run(program()))


@contextmanager
def connected(methods: Methods, **options: Any) -> Iterator[grpc.Channel]:
    """Run a plain server and yield a plain channel to it; `options` go to grpc.server()."""
    with (
        sync_server(methods, mode=None, **options) as address,
        sync_channel(address, mode=None) as channel,
    ):
        yield channel


@asynccontextmanager
async def aio_connected(methods: Methods, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
    """Run a plain asyncio server and yield a plain channel to it; see connected()."""
    async with (
        aio_server(methods, mode=None, **options) as address,
        aio_channel(address, mode=None) as channel,
    ):
        yield channel


# A service with one method for each kind of stream, messages are bytes


def _count(request: bytes, context: Any) -> Iterator[bytes]:
    context.send_initial_metadata((("began", "count"),))
    context.set_trailing_metadata((("ended", "count"),))
    for number in range(int(request)):
        yield b"%d" % number


def _join(requests: Iterator[bytes], context: Any) -> bytes:
    context.set_trailing_metadata((("ended", "join"),))
    return b"+".join(requests)


def _echo(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        yield b"echo " + request


def _fail(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"one"
    context.abort(grpc.StatusCode.DATA_LOSS, "no more of it")


def _wait(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"here"
    ended = queue.Queue[None]()
    if context.add_callback(functools.partial(ended.put, None)):
        ended.get()


async def _aio_count(request: bytes, context: Any) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("began", "count"),))
    context.set_trailing_metadata((("ended", "count"),))
    for number in range(int(request)):
        yield b"%d" % number


async def _aio_join(requests: AsyncIterator[bytes], context: Any) -> bytes:
    context.set_trailing_metadata((("ended", "join"),))
    return b"+".join([request async for request in requests])


async def _aio_echo(requests: AsyncIterator[bytes], context: Any) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(b"echo " + request)


async def _aio_echo_generator(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield b"echo " + request


async def _aio_fail(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"one"
    await context.abort(grpc.StatusCode.DATA_LOSS, "no more of it")


_KINDS: Mapping[str, Callable[..., grpc.RpcMethodHandler]] = {
    "Count": grpc.unary_stream_rpc_method_handler,
    "Join": grpc.stream_unary_rpc_method_handler,
    "Echo": grpc.stream_stream_rpc_method_handler,
    "Fail": grpc.unary_stream_rpc_method_handler,
    "Wait": grpc.unary_stream_rpc_method_handler,
}


def _service(**behaviors: Callable[..., Any]) -> dict[str, grpc.RpcMethodHandler]:
    return {name: _KINDS[name](behavior) for name, behavior in behaviors.items()}


SYNC_SERVICE = _service(Count=_count, Join=_join, Echo=_echo, Fail=_fail, Wait=_wait)
AIO_SERVICE = _service(Count=_aio_count, Join=_aio_join, Echo=_aio_echo_generator, Fail=_aio_fail)
# Handlers that call context.read() and context.write(): not every interceptor lets them.
AIO_READING_SERVICE = AIO_SERVICE | _service(Echo=_aio_echo)


# Clients that use every kind of stream, and tell all that they see


def _end_of(call: Any) -> tuple[Any, ...]:
    trailing = [tuple(item) for item in call.trailing_metadata() or () if item[0] == "ended"]
    return call.code(), call.details(), trailing


def outcome_of(stream: Iterator[T]) -> list[T | tuple[grpc.StatusCode, str]]:
    """Return the messages of `stream`, and last the status of the error that ended it."""
    seen: list[Any] = []
    try:
        seen.extend(iter(stream))
    except grpc.RpcError as error:
        seen.append((error.code(), error.details()))
    return seen


def _chat(channel: grpc.Channel) -> Any:
    outbox = queue.Queue[Any]()
    chat = channel.stream_stream(path("Echo"))(iter(outbox.get, None))
    seen = []
    for number in range(ROUNDS):
        outbox.put(b"%d" % number)
        seen.append(next(chat))
    outbox.put(None)
    return seen, list(chat)


def _join_with_call(channel: grpc.Channel) -> Any:
    joined, call = channel.stream_unary(path("Join")).with_call(iter([b"d", b"e"]))
    return joined, _end_of(call)


def _join_later(channel: grpc.Channel) -> Any:
    future = channel.stream_unary(path("Join")).future(iter([b"f"]))
    return future.result(), _end_of(future)


def _cancelled(channel: grpc.Channel) -> Any:
    waiting = channel.unary_stream(path("Wait"))(b"")
    return next(waiting), waiting.cancel(), outcome_of(waiting)


_SYNC_PARTS: dict[str, Callable[[grpc.Channel], Any]] = {
    "count": lambda channel: list(channel.unary_stream(path("Count"))(b"%d" % ROUNDS)),
    "join": lambda channel: channel.stream_unary(path("Join"))(iter([b"a", b"b", b"c"])),
    "join with call": _join_with_call,
    "join later": _join_later,
    "chat": _chat,
    "echo of a generator": lambda channel: list(
        channel.stream_stream(path("Echo"))(b"%d" % number for number in range(ROUNDS))
    ),
    "failure": lambda channel: outcome_of(channel.unary_stream(path("Fail"))(b"")),
    "cancelled": _cancelled,
}


def converse(channel: grpc.Channel, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Use every kind of stream of the service on a sync channel; return what was seen."""
    return {name: part(channel) for name, part in _SYNC_PARTS.items() if name not in without}


async def _numbers() -> AsyncIterator[bytes]:
    for number in range(ROUNDS):
        yield b"%d" % number


async def _outcome_of(stream: AsyncIterator[T]) -> list[Any]:
    seen: list[Any] = []
    try:
        async for message in stream:
            seen.append(message)
    except grpc.aio.AioRpcError as error:
        seen.append((error.code(), error.details()))
    return seen


async def _aio_count_by_for(channel: grpc.aio.Channel) -> Any:
    call = channel.unary_stream(path("Count"))(b"%d" % ROUNDS)
    return [message async for message in call], await call.code()


async def _aio_count_by_read(channel: grpc.aio.Channel) -> Any:
    call = channel.unary_stream(path("Count"))(b"2")
    return await call.read(), await call.read(), await call.read() is grpc.aio.EOF


async def _aio_join_an_iterator(channel: grpc.aio.Channel) -> Any:
    return await channel.stream_unary(path("Join"))(iter([b"a", b"b", b"c"]))


async def _aio_join_a_generator(channel: grpc.aio.Channel) -> Any:
    return await channel.stream_unary(path("Join"))(_numbers())


async def _aio_join_by_write(channel: grpc.aio.Channel) -> Any:
    call = channel.stream_unary(path("Join"))()
    for message in (b"d", b"e"):
        await call.write(message)
    await call.done_writing()
    return await call, await call.code()


async def _aio_chat(channel: grpc.aio.Channel) -> Any:
    call = channel.stream_stream(path("Echo"))()
    seen = []
    for number in range(ROUNDS):
        await call.write(b"%d" % number)
        seen.append(await call.read())
    await call.done_writing()
    return seen, await call.read() is grpc.aio.EOF


async def _aio_echo_a_generator(channel: grpc.aio.Channel) -> Any:
    return await _outcome_of(channel.stream_stream(path("Echo"))(_numbers()))


async def _aio_failure(channel: grpc.aio.Channel) -> Any:
    return await _outcome_of(channel.unary_stream(path("Fail"))(b""))


async def _aio_cancelled(channel: grpc.aio.Channel) -> Any:
    call = channel.stream_stream(path("Echo"))()
    await call.write(b"here")
    return await call.read(), call.cancel(), await call.code()


_AIO_PARTS: dict[str, Callable[[grpc.aio.Channel], Any]] = {
    "count": _aio_count_by_for,
    "count by read": _aio_count_by_read,
    "join": _aio_join_an_iterator,
    "join of a generator": _aio_join_a_generator,
    "join by write": _aio_join_by_write,
    "chat": _aio_chat,
    "echo of a generator": _aio_echo_a_generator,
    "failure": _aio_failure,
    "cancelled": _aio_cancelled,
}


async def converse_async(
    channel: grpc.aio.Channel, *, without: Collection[str] = ()
) -> dict[str, Any]:
    """Use every kind of stream of the service on an asyncio channel; return what was seen."""
    return {name: await part(channel) for name, part in _AIO_PARTS.items() if name not in without}
