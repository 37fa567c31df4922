"""The asyncio channel and its multi-callables: where client streams begin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._contract import AIO_CHANNEL, forwards
from .._guard import Stream
from .._modes import Mode
from .._proxy import Proxy, StreamProxy, isinstance_exactly
from .._rules import WRONG_LOOP
from .._violations import violate
from .calls import (
    AwaitableCall,
    Call,
    DuplexCall,
    ReadingCall,
    WritingCall,
    guard_requests,
)

if TYPE_CHECKING:
    from typing_extensions import Self


def new_stream(owner: Any, rpc: str, mode: Mode) -> Stream:
    """Return the record of an RPC about to start on the loop of `owner`, a multi-callable.

    Raises ConcurrencyError if another loop, or another thread, is starting it. Starting it
    while no loop runs is legal: the RPC begins when its loop does.
    """
    running = asyncio._get_running_loop()
    loop: Any = getattr(owner, "_loop", None) or running
    stream = Stream(rpc, "client", "aio", mode, loop)
    if running is not loop and (running is not None or loop.is_running()):
        where = "another event loop" if running is not None else "another thread"
        violate(WRONG_LOOP, stream, "start", f"the channel belongs to a loop, and {where} uses it")
    return stream


def start(
    call: Callable[..., Any],
    stream: Stream,
    requests: Any,
    args: Any,
    kwargs: Any,
    *,
    by_iterator: type[Call],
    by_write: type[Call],
) -> Any:
    """Start an RPC with a request stream and return its guarded call.

    With `requests` the call is of class `by_iterator` (grpcio refuses ``write()`` on it by
    itself), without of class `by_write`.
    """
    try:
        plain = call(guard_requests(requests, stream), *args, **kwargs)
    except BaseException:
        stream.ended = True  # its generator is free for the next attempt
        raise
    return guard_call(plain, stream, by_write if requests is None else by_iterator)


def guard_call(call: Any, stream: Stream, kind: type[Call]) -> Any:
    return call if isinstance_exactly(call, StreamProxy) else kind(call, stream)


class _MultiCallable(Proxy):
    __slots__ = ("_self_mode", "_self_rpc")

    def __init__(self, multi_callable: Any, rpc: str, mode: Mode) -> None:
        super().__init__(multi_callable)
        self._self_rpc = rpc
        self._self_mode = mode

    def _new_stream(self) -> Stream:
        return new_stream(self.__wrapped__, self._self_rpc, self._self_mode)


class UnaryUnary(_MultiCallable):
    """Guards nothing but the loop: a unary RPC has no directions."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plain = self.__wrapped__
        if asyncio._get_running_loop() is not getattr(plain, "_loop", None):
            self._new_stream()
        return plain(*args, **kwargs)


class UnaryStream(_MultiCallable):
    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        stream = self._new_stream()
        return guard_call(self.__wrapped__(*args, **kwargs), stream, ReadingCall)


class StreamUnary(_MultiCallable):
    __slots__ = ()

    def __call__(self, request_iterator: Any = None, *args: Any, **kwargs: Any) -> Any:
        return start(
            self.__wrapped__,
            self._new_stream(),
            request_iterator,
            args,
            kwargs,
            by_iterator=AwaitableCall,
            by_write=WritingCall,
        )


class StreamStream(_MultiCallable):
    __slots__ = ()

    def __call__(self, request_iterator: Any = None, *args: Any, **kwargs: Any) -> Any:
        return start(
            self.__wrapped__,
            self._new_stream(),
            request_iterator,
            args,
            kwargs,
            by_iterator=ReadingCall,
            by_write=DuplexCall,
        )


@forwards(AIO_CHANNEL)
class Channel(Proxy):
    """A guarded channel: every stream that starts on it is guarded.

    May be shared by any number of tasks of its loop, as the channel it wraps may.
    """

    __slots__ = ("_self_mode",)

    def __init__(self, channel: Any, mode: Mode) -> None:
        super().__init__(channel)
        self._self_mode = mode

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> UnaryUnary:
        """See grpc.aio.Channel.unary_unary."""
        plain = self.__wrapped__.unary_unary(method, *args, **kwargs)
        return UnaryUnary(plain, method, self._self_mode)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> UnaryStream:
        """See grpc.aio.Channel.unary_stream."""
        plain = self.__wrapped__.unary_stream(method, *args, **kwargs)
        return UnaryStream(plain, method, self._self_mode)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> StreamUnary:
        """See grpc.aio.Channel.stream_unary."""
        plain = self.__wrapped__.stream_unary(method, *args, **kwargs)
        return StreamUnary(plain, method, self._self_mode)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> StreamStream:
        """See grpc.aio.Channel.stream_stream."""
        plain = self.__wrapped__.stream_stream(method, *args, **kwargs)
        return StreamStream(plain, method, self._self_mode)

    async def __aenter__(self) -> Self:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> Any:
        return await self.__wrapped__.__aexit__(*exc_info)
