"""The sync channel and its multi-callables: where RPCs begin."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Self

from ..._catalogue.modes import ChooseMode, Mode, current_mode
from ..._catalogue.nouns import CLIENT, SYNC
from ..._core import steps, which
from ..._core.stream import Stream
from ..._lifecycle.blocking import blocking
from ..._lifecycle.callbacks import running
from ..._lifecycle.channels import closing, made, subscribing
from ..._lifecycle.starts import failed_to_start, starting
from ..contract import SYNC_CHANNEL, forwards
from ..multicallables import REQUESTS, MultiCallable, PlainStart, StartRpc, guarding
from ..proxy import Proxy, in_c
from ..unary import in_c as unary_in_c
from ..unary import refused_below, watching_below
from . import calls
from .calls import USUAL, guard_call, guard_future, guard_requests, responses_of
from .intercepted import handed_here, join


def _starting(
    guard: Callable[[Any, Stream], Any], *, writes: bool, blocks: bool = False
) -> StartRpc:
    """Return what a multi-callable does while it is guarded: start a stream, and guard its call.

    `guard` returns the guarded twin of what gRPC returns. `writes`: the requests are guarded, too.
    `blocks`: gRPC returns at the end of the RPC.
    """

    # One function: each that an RPC runs costs a microsecond. `multi_callable` is the object itself,
    # `start` its plain method, and the rest is what the user passed. From starting() on, a table holds
    # the record: whatever arrives before the call is known, the record must not seem open.
    def start_rpc(
        multi_callable: Any, start: PlainStart, rpc: str, mode: Mode, /, *args: Any, **kwargs: Any
    ) -> Any:
        stream = Stream(rpc, CLIENT, SYNC, mode)
        try:
            starting(stream, multi_callable)
            if blocks and stream.origin is not None and stream.origin.on_loop:
                start = functools.partial(blocking, start, stream.subject)
            if writes:
                if args:
                    args = guard_requests(args[0], stream), *args[1:]
                elif REQUESTS in kwargs:
                    kwargs[REQUESTS] = guard_requests(kwargs[REQUESTS], stream)
            if handed_here.get() is not None:
                join(stream)
            call = start(*args, **kwargs)
            return responses_of(call, stream) if type(call) is USUAL else guard(call, stream)
        except BaseException as error:
            stream.ended = True  # and its generator is free for the next attempt
            failed_to_start(stream.channel, stream.rpc, error)
            raise

    return start_rpc


def _ended(result: Any, stream: Stream) -> Any:
    stream.ended = True
    return result


start_unary_stream = in_c("start_unary_stream")(_starting(guard_call, writes=False))
start_stream_stream = in_c("start_stream_stream")(_starting(guard_call, writes=True))
start_stream_unary = _starting(guard_future, writes=True)
run_stream_unary = _starting(_ended, writes=True, blocks=True)


class UnaryUnary(MultiCallable):
    """See grpc.UnaryUnaryMultiCallable."""

    __slots__ = ()

    __call__ = unary_in_c(watching_below("UnaryUnary.__call__"), refused_below)
    with_call = watching_below("UnaryUnary.with_call")
    future = watching_below("UnaryUnary.future")


class UnaryStream(MultiCallable):
    """See grpc.UnaryStreamMultiCallable."""

    __slots__ = ()

    __call__ = in_c("call_unary_stream")(guarding("UnaryStream.__call__", start_unary_stream))


class StreamUnary(MultiCallable):
    """See grpc.StreamUnaryMultiCallable."""

    __slots__ = ()

    __call__ = guarding("StreamUnary.__call__", run_stream_unary)
    with_call = guarding("StreamUnary.with_call", run_stream_unary)
    future = guarding("StreamUnary.future", start_stream_unary)


class StreamStream(MultiCallable):
    """See grpc.StreamStreamMultiCallable."""

    __slots__ = ()

    __call__ = in_c("call_stream_stream")(guarding("StreamStream.__call__", start_stream_stream))


@forwards(SYNC_CHANNEL)
class Channel(Proxy):
    """A guarded channel: every stream that starts on it is guarded, and every RPC checked.

    May be shared by any number of threads, as the channel it wraps may.
    """

    __slots__ = ("_self_choose",)

    def __init__(self, channel: Any, choose: ChooseMode) -> None:
        super().__init__(channel)
        self._self_choose = choose
        made(channel, SYNC, "wrap")

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> UnaryUnary:
        """See grpc.Channel.unary_unary."""
        plain = self.__wrapped__.unary_unary(method, *args, **kwargs)
        return UnaryUnary(plain, method, self._self_choose)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> UnaryStream:
        """See grpc.Channel.unary_stream."""
        plain = self.__wrapped__.unary_stream(method, *args, **kwargs)
        return UnaryStream(plain, method, self._self_choose)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> StreamUnary:
        """See grpc.Channel.stream_unary."""
        plain = self.__wrapped__.stream_unary(method, *args, **kwargs)
        return StreamUnary(plain, method, self._self_choose)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> StreamStream:
        """See grpc.Channel.stream_stream."""
        plain = self.__wrapped__.stream_stream(method, *args, **kwargs)
        return StreamStream(plain, method, self._self_choose)

    def subscribe(self, *args: Any, **kwargs: Any) -> None:
        """See grpc.Channel.subscribe."""
        if current_mode() is Mode.OFF:  # otherwise the guard of the process checks it
            subscribing(self.__wrapped__)
        self.__wrapped__.subscribe(*args, **kwargs)

    def close(self) -> None:
        """See grpc.Channel.close."""
        closing(self.__wrapped__)
        self.__wrapped__.close()

    def __enter__(self) -> Self:
        self.__wrapped__.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> Any:
        closing(self.__wrapped__)
        return self.__wrapped__.__exit__(*exc_info)


_compiled = which.compiled()
if _compiled is not None:
    _compiled.tell(
        {
            "sends": "next(request_iterator)",
            "request_twins": calls.RequestIterator._self_twins,
            "ClientRequests": steps.ClientRequests,
            "guard_requests": guard_requests,
            "callbacks_running": running,
            "usual_call": USUAL,
            "call_twins": calls.StreamCall._self_twins,
            "Responses": steps.Responses,
            "call_has_ended": calls.has_ended,
            "guard_call": guard_call,
            "failed_to_start": failed_to_start,
            "handed": handed_here,
            "join": join,
        }
    )
