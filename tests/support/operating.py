"""Guarded operations above streams that do nothing: what tests interrupt, at any instruction."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import threading
import types
from collections.abc import Callable
from typing import Any

from inside import (
    Mode,
    Stream,
    aio_calls,
    aio_given,
    aio_requests,
    sync_calls,
    sync_handlers,
)

MESSAGE = b"message"


class Plain:
    """Stands below the proxies: a stream whose operations complete, the async ones in steps."""

    def __init__(self, steps: int = 1) -> None:
        self._steps = steps
        self._state = types.SimpleNamespace(initial_metadata=None)

    def __next__(self) -> bytes:
        return MESSAGE

    def is_active(self) -> bool:
        return True

    def initial_metadata(self) -> bytes:
        return MESSAGE

    def send(self, response: bytes) -> None:
        pass

    def done(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    async def read(self) -> bytes:
        for _ in range(self._steps):
            await suspend()
        return MESSAGE

    def __aiter__(self) -> Any:
        return self

    __anext__ = read

    async def asend(self, value: Any) -> bytes:
        return await self.read()

    async def write(self, message: bytes) -> None:
        await self.read()

    async def done_writing(self) -> None:
        await self.read()


async def suspend() -> None:
    """Suspend the task for one pass of the loop, by a future as grpcio does.

    sleep(0) does without, and a task that is interrupted between two steps is lost then:
    asyncio has not yet arranged for the next one.
    """
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(lambda: future.cancelled() or future.set_result(None))
    await future


@dataclasses.dataclass
class Subject:
    """A guarded operation: its direction, how to do it, and what else must stay alive."""

    direction: Any
    operate: Callable[[], Any]
    proxy: Any

    @property
    def shows_frame(self) -> bool:
        """Tell whether the operation, of asyncio, is done in Python and not in C."""
        operation = self.operate()
        operation.close()
        return type(operation) is types.CoroutineType


def client_next(plain: Any, stream: Stream) -> Subject:
    call = sync_calls.responses_of(plain, stream)
    return Subject(call._self_read, call.__next__, call)


def client_metadata(plain: Any, stream: Stream) -> Subject:
    call = sync_calls.single_threaded_responses_of(plain, stream)
    return Subject(call._self_read, call.initial_metadata, call)


def client_requests(plain: Any, stream: Stream) -> Subject:
    iterator = sync_calls.requests_of(plain, stream)
    return Subject(stream.write, iterator.__next__, iterator)


def server_requests(plain: Any, stream: Stream) -> Subject:
    iterator = sync_handlers.requests_of(plain, stream)
    return Subject(stream.read, iterator.__next__, iterator)


def server_responses(plain: Any, stream: Stream) -> Subject:
    iterator = sync_handlers.responses_of(plain, stream)
    return Subject(stream.write, iterator.__next__, iterator)


def server_sender(plain: Any, stream: Stream) -> Subject:
    sender = sync_handlers.guard_sender(plain.send, stream)
    return Subject(stream.write, functools.partial(sender, MESSAGE), sender)


@functools.cache
def _taking_more(kind: Any) -> type:
    """Return a class of such objects whose operations may take more than gRPC's."""

    def passing_on(name: str) -> Any:
        return lambda self, *args: getattr(kind, name)(self, *args)

    names = {"next": "__next__"} | {name: name for name in ("read", "write", "done_writing")}
    return type(kind.__name__, (kind,), {name: passing_on(by) for name, by in names.items()})


def _with_more(plain: Any) -> Any:
    plain.__class__ = _taking_more(type(plain))
    return plain


def client_own_next(plain: Any, stream: Stream) -> Subject:
    call = sync_calls.responses_of(_with_more(plain), stream)
    return Subject(call._self_read, call.next, call)


SYNC = [
    client_next,
    client_own_next,
    client_metadata,
    client_requests,
    server_requests,
    server_responses,
    server_sender,
]


def client_read(plain: Any, stream: Stream) -> Subject:
    call = aio_calls.DuplexCall(plain, stream)
    return Subject(call._self_read, call.read, call)


def client_anext(plain: Any, stream: Stream) -> Subject:
    call = aio_calls.DuplexCall(plain, stream)
    return Subject(call._self_read, call.__aiter__().__anext__, call)


def client_asend(plain: Any, stream: Stream) -> Subject:
    call = aio_calls.DuplexCall(plain, stream)
    return Subject(call._self_read, functools.partial(call.__aiter__().asend, None), call)


def client_write(plain: Any, stream: Stream) -> Subject:
    call = aio_calls.DuplexCall(plain, stream)
    return Subject(call._self_write, functools.partial(call.write, MESSAGE), call)


def client_done_writing(plain: Any, stream: Stream) -> Subject:
    call = aio_calls.DuplexCall(plain, stream)
    return Subject(call._self_write, call.done_writing, call)


def client_async_requests(plain: Any, stream: Stream) -> Subject:
    requests = aio_requests.AsyncRequestIterator(plain, stream)
    return Subject(requests._self_write, requests.__anext__, requests)


def server_read(plain: Any, stream: Stream) -> Subject:
    context = aio_given.Context(plain, stream)
    return Subject(context._self_read, context.read, context)


def server_write(plain: Any, stream: Stream) -> Subject:
    context = aio_given.Context(plain, stream)
    return Subject(context._self_write, functools.partial(context.write, MESSAGE), context)


def client_own_read(plain: Any, stream: Stream) -> Subject:
    return client_read(_with_more(plain), stream)


def client_own_done_writing(plain: Any, stream: Stream) -> Subject:
    return client_done_writing(_with_more(plain), stream)


def server_own_write(plain: Any, stream: Stream) -> Subject:
    return server_write(_with_more(plain), stream)


AIO = [
    client_read,
    client_own_read,
    client_own_done_writing,
    server_own_write,
    client_anext,
    client_asend,
    client_write,
    client_done_writing,
    client_async_requests,
    server_read,
    server_write,
]


def sync_stream(mode: Mode) -> Stream:
    return Stream("/test/Interrupts", "client", "sync", mode)


def aio_stream(mode: Mode, loop: asyncio.AbstractEventLoop) -> Stream:
    return Stream("/test/Interrupts", "client", "aio", mode, loop)


class ThisThread:
    """Passes for an event loop that this thread runs."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()


def run_at_once(coroutine: Any) -> None:
    """Run a coroutine that does not suspend."""
    try:
        coroutine.send(None)
    except StopIteration:
        pass
