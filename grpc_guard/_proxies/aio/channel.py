"""The asyncio channel and its multi-callables: where RPCs begin."""

from __future__ import annotations

import functools
from typing import Any, Self

from ..._catalogue import forks
from ..._catalogue.boundary import never_disturbs
from ..._catalogue.cpython_loops import error_of, running_loop
from ..._catalogue.grpcio import INTERCEPTORS_TASK, PLAIN_AIO_CALLS
from ..._catalogue.modes import ChooseMode, Mode, in_force
from ..._catalogue.nouns import AIO, CLIENT
from ..._core.aio_methods import compiled
from ..._core.stream import Channel as CarryingChannel
from ..._core.stream import Stream
from ..._findings.origins import Origin, note_origin
from ..._guard.violations import check_start
from ..._lifecycle.channels import closing, life_of, made
from ..._lifecycle.outliving import watch_end
from ..._lifecycle.starts import REFUSALS, failed_to_start, starting
from ..contract import AIO_CHANNEL, forwards
from ..multicallables import REQUESTS, MultiCallable, PlainStart, StartRpc, guarding
from ..proxy import Proxy, StreamProxy, in_c, isinstance_exactly, maker
from ..unary import in_c as unary_in_c
from ..unary import refused, start_watched
from .calls import (
    AwaitableCall,
    Call,
    DuplexCall,
    ReadingCall,
    WritingCall,
    guard_call,
)
from .requests import AsyncRequestIterator, guard_requests
from .waits import waits

OFF = Mode.OFF


def new_stream(owner: Any, rpc: str, mode: Mode) -> Stream:
    """Return the record of an RPC that is about to start on the loop of `owner`, a multi-callable.

    Raises ConcurrencyError if another loop, or another thread, starts it.
    """
    running = running_loop()
    # Read here and below, not in _catalogue/grpcio.py: each start of an RPC runs this.
    loop: Any = getattr(owner, "_loop", None) or running
    stream = Stream(rpc, CLIENT, AIO, mode, loop)
    if running is not loop:
        stream.channel = life_of(owner)
        check_start(stream)
    return stream


# Each of these is what a multi-callable does while it is guarded. `multi_callable` is the
# object itself, `start` its plain method, and the rest is what the user passed. Calls that
# send by an iterator need no guard on write(): grpcio itself refuses it. From starting() on, a
# table holds the record: whatever arrives before the call is known, the record must not seem open.


def start_unary_unary(
    multi_callable: Any, start: PlainStart, rpc: str, mode: Mode, /, *args: Any, **kwargs: Any
) -> Any:
    """Start a unary RPC and return grpcio's own call: only its loop and channel matter."""
    if running_loop() is not getattr(multi_callable, "_loop", None):
        new_stream(multi_callable, rpc, mode)
    call = start_watched(multi_callable, start, rpc, args, kwargs)
    if hasattr(call, INTERCEPTORS_TASK):
        _await_refusal(call, life_of(multi_callable), rpc)
    return call


def _starting(kind: type[Call], fed: type[Call] | None = None) -> StartRpc:
    """Return what a multi-callable does while it is guarded: start a stream, and guard its call.

    The call is of class `kind`; or of class `fed`, if there is one, where an iterator sends.
    """
    kind_fed = fed or kind
    make, make_fed = maker(kind), maker(kind_fed)

    def start_rpc(
        multi_callable: Any, start: PlainStart, rpc: str, mode: Mode, /, *args: Any, **kwargs: Any
    ) -> Any:
        stream, requests = new_stream(multi_callable, rpc, mode), None
        try:
            starting(stream, multi_callable)
            if fed is not None:
                requests = args[0] if args else kwargs.get(REQUESTS)
                if requests is not None:
                    requests = guard_requests(requests, stream)
                    if args:
                        args = requests, *args[1:]
                    else:
                        kwargs[REQUESTS] = requests
            call = start(*args, **kwargs)
            if requests is not None and isinstance_exactly(requests, AsyncRequestIterator):
                watch_end(call, stream)
            if type(call) in PLAIN_AIO_CALLS:
                return (make if requests is None else make_fed)(call, stream)
            return _guard_started(call, stream, kind if requests is None else kind_fed)
        except BaseException as error:
            stream.ended = True  # and its generator is free for the next attempt
            failed_to_start(stream.channel, stream.rpc, error)
            raise

    return start_rpc


def _guard_started(call: Any, stream: Stream, kind: type[Call]) -> Any:
    """Return the guarded twin of `call`, which has just been started."""
    if hasattr(call, INTERCEPTORS_TASK):
        _await_refusal(call, stream.channel, stream.rpc)
    return guard_call(call, stream, kind)


start_unary_stream = in_c("begin_aio_unary_stream")(_starting(ReadingCall))
start_stream_unary = in_c("begin_aio_stream_unary")(_starting(WritingCall, AwaitableCall))
start_stream_stream = in_c("begin_aio_stream_stream")(_starting(DuplexCall, ReadingCall))


@never_disturbs("the use of a closed channel goes unnoticed")
def _await_refusal(call: Any, life: CarryingChannel | None, rpc: str) -> None:
    """Act on the error of a `call` on a closed channel: interceptors make it late, if ever."""
    if life is not None and life.is_closed():
        refused = functools.partial(_refused_late, life, rpc, note_origin("start"))
        getattr(call, INTERCEPTORS_TASK).add_done_callback(refused)


def _refused_late(life: CarryingChannel, rpc: str, start: Origin, task: Any) -> None:
    error = error_of(task)
    if error is not None:
        failed_to_start(life, rpc, error, start)


def _call_unary(self: Any, /, *args: Any, **kwargs: Any) -> Any:
    # What start_unary_unary() does, in one frame: each takes a microsecond of a unary RPC.
    wrapped = self.__wrapped__
    if (
        forks.generation
        or in_force.mode is not OFF
        or self._self_choose() is OFF
        or running_loop() is not getattr(wrapped, "_loop", None)
    ):
        return _start_unary(self, *args, **kwargs)
    try:
        call = wrapped(*args, **kwargs)
    except REFUSALS as error:
        _refused(self, error)
        raise
    if hasattr(call, INTERCEPTORS_TASK):
        _refused_later(self, call)
    return call


_call_unary.__name__, _call_unary.__qualname__ = "__call__", "UnaryUnary.__call__"


def _refused(proxy: Any, error: BaseException) -> None:
    refused(proxy.__wrapped__, proxy._self_rpc, error)


def _refused_later(proxy: Any, call: Any) -> None:
    _await_refusal(call, life_of(proxy.__wrapped__), proxy._self_rpc)


class UnaryUnary(MultiCallable):
    """See grpc.aio.UnaryUnaryMultiCallable."""

    __slots__ = ()

    __call__ = unary_in_c(_call_unary, _refused, _refused_later, INTERCEPTORS_TASK)


_start_unary = guarding("UnaryUnary.__call__", start_unary_unary)


class UnaryStream(MultiCallable):
    """See grpc.aio.UnaryStreamMultiCallable."""

    __slots__ = ()

    __call__ = in_c("start_aio_unary_stream")(guarding("UnaryStream.__call__", start_unary_stream))


class StreamUnary(MultiCallable):
    """See grpc.aio.StreamUnaryMultiCallable."""

    __slots__ = ()

    __call__ = in_c("start_aio_stream_unary")(guarding("StreamUnary.__call__", start_stream_unary))


class StreamStream(MultiCallable):
    """See grpc.aio.StreamStreamMultiCallable."""

    __slots__ = ()

    __call__ = in_c("start_aio_stream_stream")(
        guarding("StreamStream.__call__", start_stream_stream)
    )


@waits(AIO_CHANNEL)
@forwards(AIO_CHANNEL)
class Channel(Proxy):
    """A guarded channel: every stream that starts on it is guarded.

    May be shared by any number of tasks of its loop, as the channel it wraps may.
    """

    __slots__ = ("_self_choose",)

    def __init__(self, channel: Any, choose: ChooseMode) -> None:
        super().__init__(channel)
        self._self_choose = choose
        made(channel, AIO, "wrap")

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> UnaryUnary:
        """See grpc.aio.Channel.unary_unary."""
        plain = self.__wrapped__.unary_unary(method, *args, **kwargs)
        return UnaryUnary(plain, method, self._self_choose)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> UnaryStream:
        """See grpc.aio.Channel.unary_stream."""
        plain = self.__wrapped__.unary_stream(method, *args, **kwargs)
        return UnaryStream(plain, method, self._self_choose)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> StreamUnary:
        """See grpc.aio.Channel.stream_unary."""
        plain = self.__wrapped__.stream_unary(method, *args, **kwargs)
        return StreamUnary(plain, method, self._self_choose)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> StreamStream:
        """See grpc.aio.Channel.stream_stream."""
        plain = self.__wrapped__.stream_stream(method, *args, **kwargs)
        return StreamStream(plain, method, self._self_choose)

    async def close(self, grace: float | None = None) -> None:
        """See grpc.aio.Channel.close."""
        closing(self.__wrapped__)
        await self.__wrapped__.close(grace)

    async def __aenter__(self) -> Self:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> Any:
        closing(self.__wrapped__)
        return await self.__wrapped__.__aexit__(*exc_info)


if compiled is not None:
    compiled.tell(
        {
            "AIO": AIO,
            "StreamProxy": StreamProxy,
            "guard_started": _guard_started,
            "plain_aio_calls": PLAIN_AIO_CALLS,
            "ReadingCall": ReadingCall,
            "DuplexCall": DuplexCall,
            "WritingCall": WritingCall,
        }
    )
