"""The sync channel and its multi-callables: where client streams begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._contract import SYNC_CHANNEL, forwards
from .._guard import Stream
from .._modes import Mode
from .._proxy import Proxy
from .calls import guard_call, guard_future, guard_requests

if TYPE_CHECKING:
    from typing_extensions import Self


def start_unary_stream(
    start: Callable[..., Any], rpc: str, mode: Mode, args: Any, kwargs: Any
) -> Any:
    """Start a unary-stream RPC and return its guarded call."""
    return guard_call(start(*args, **kwargs), Stream(rpc, "client", "sync", mode))


def start_stream_stream(
    start: Callable[..., Any], rpc: str, mode: Mode, requests: Any, args: Any, kwargs: Any
) -> Any:
    """Start a stream-stream RPC with guarded requests and return its guarded call."""
    stream = Stream(rpc, "client", "sync", mode)
    return guard_call(_start(start, stream, requests, args, kwargs), stream)


def run_stream_unary(
    run: Callable[..., Any], rpc: str, mode: Mode, requests: Any, args: Any, kwargs: Any
) -> Any:
    """Run a stream-unary RPC with guarded requests to its end."""
    stream = Stream(rpc, "client", "sync", mode)
    try:
        return run(guard_requests(requests, stream), *args, **kwargs)
    finally:
        stream.ended = True


def start_stream_unary(
    start: Callable[..., Any], rpc: str, mode: Mode, requests: Any, args: Any, kwargs: Any
) -> Any:
    """Start a stream-unary RPC with guarded requests and return its guarded future."""
    stream = Stream(rpc, "client", "sync", mode)
    return guard_future(_start(start, stream, requests, args, kwargs), stream)


def _start(start: Callable[..., Any], stream: Stream, requests: Any, args: Any, kwargs: Any) -> Any:
    try:
        return start(guard_requests(requests, stream), *args, **kwargs)
    except BaseException:
        stream.ended = True  # its generator is free for the next attempt
        raise


class _MultiCallable(Proxy):
    __slots__ = ("_self_mode", "_self_rpc")

    def __init__(self, multi_callable: Any, rpc: str, mode: Mode) -> None:
        super().__init__(multi_callable)
        self._self_rpc = rpc
        self._self_mode = mode


class UnaryStream(_MultiCallable):
    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return start_unary_stream(self.__wrapped__, self._self_rpc, self._self_mode, args, kwargs)


class StreamUnary(_MultiCallable):
    __slots__ = ()

    def __call__(self, request_iterator: Any, *args: Any, **kwargs: Any) -> Any:
        return run_stream_unary(
            self.__wrapped__, self._self_rpc, self._self_mode, request_iterator, args, kwargs
        )

    def with_call(self, request_iterator: Any, *args: Any, **kwargs: Any) -> Any:
        return run_stream_unary(
            self.__wrapped__.with_call,
            self._self_rpc,
            self._self_mode,
            request_iterator,
            args,
            kwargs,
        )

    def future(self, request_iterator: Any, *args: Any, **kwargs: Any) -> Any:
        return start_stream_unary(
            self.__wrapped__.future,
            self._self_rpc,
            self._self_mode,
            request_iterator,
            args,
            kwargs,
        )


class StreamStream(_MultiCallable):
    __slots__ = ()

    def __call__(self, request_iterator: Any, *args: Any, **kwargs: Any) -> Any:
        return start_stream_stream(
            self.__wrapped__, self._self_rpc, self._self_mode, request_iterator, args, kwargs
        )


@forwards(SYNC_CHANNEL)
class Channel(Proxy):
    """A guarded channel: every stream that starts on it is guarded.

    May be shared by any number of threads, as the channel it wraps may.
    """

    __slots__ = ("_self_mode",)

    def __init__(self, channel: Any, mode: Mode) -> None:
        super().__init__(channel)
        self._self_mode = mode

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> UnaryStream:
        """See grpc.Channel.unary_stream."""
        plain = self.__wrapped__.unary_stream(method, *args, **kwargs)
        return UnaryStream(plain, method, self._self_mode)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> StreamUnary:
        """See grpc.Channel.stream_unary."""
        plain = self.__wrapped__.stream_unary(method, *args, **kwargs)
        return StreamUnary(plain, method, self._self_mode)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> StreamStream:
        """See grpc.Channel.stream_stream."""
        plain = self.__wrapped__.stream_stream(method, *args, **kwargs)
        return StreamStream(plain, method, self._self_mode)

    def __enter__(self) -> Self:
        self.__wrapped__.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> Any:
        return self.__wrapped__.__exit__(*exc_info)
