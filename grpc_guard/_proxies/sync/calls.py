"""Client calls of the sync api: the response iterator, and what feeds the request side."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from grpc import _channel

from ..._catalogue.boundary import asked
from ..._catalogue.grpcio import (
    MULTI_THREADED_CALL,
    SINGLE_THREADED_CALL,
    rpc_is_over,
)
from ..._core import steps
from ..._core.stream import Stream
from ..._guard.generators import bind
from ..._lifecycle.blocking import watched
from ..._lifecycle.callbacks import refusing, run_callback, running
from ..contract import SYNC_CALL, forwards
from ..itself import passes_on
from ..proxy import GuardedCallback, NextProxy, StreamProxy, isinstance_exactly, iterators, proxy_of

# Nearly all calls with one response or many, which need no further checks. None if this grpcio has
# no such class.
USUAL = getattr(_channel, MULTI_THREADED_CALL, None)
_SINGLE_THREADED = getattr(_channel, SINGLE_THREADED_CALL, None)


def has_ended(call: Any) -> bool:
    """Tell whether the RPC of a client call is over; a kind of call that does not tell never is."""
    is_over = rpc_is_over(call)
    if is_over is not None:
        return is_over
    is_active = asked(call, "is_active")
    return is_active is not None and not is_active


class DoneCallback(GuardedCallback):
    """A done-callback of the sync api, which runs on a thread that its channel needs."""

    __slots__ = ()

    def __call__(self, _: object) -> None:
        run_callback(self._callback, self._proxy._self_stream, self._proxy)


@forwards(SYNC_CALL)
class Call(StreamProxy):
    """A client call with one response: the future of a stream-unary RPC."""

    __slots__ = ()

    @passes_on
    def add_done_callback(self, fn: Callable[[Any], object], *more: Any, **named: Any) -> None:
        """See grpc.Future.add_done_callback; `fn` gets the guarded call."""
        guarded = DoneCallback(fn, self) if callable(fn) else fn
        self.__wrapped__.add_done_callback(
            guarded, *more, **named
        )  # grpcio refuses what cannot be called

    @passes_on
    def add_callback(self, callback: Callable[[], object], *more: Any, **named: Any) -> Any:
        """See grpc.RpcContext.add_callback."""
        guarded = functools.partial(run_callback, callback, self._self_stream)
        return self.__wrapped__.add_callback(guarded, *more, **named)


class StreamCall(NextProxy, Call):
    """A client call with many responses: the response iterator.

    At most one thread is in ``next()`` at a time; another gets ConcurrencyError before
    grpcio is reached. Every other method may be called by any thread at any time.
    """

    __slots__ = ()

    @property
    def _self_read(self) -> steps.Responses:
        direction: steps.Responses = steps.direction_of(self.__next__)
        return direction


class SingleThreadedStreamCall(StreamCall):
    """The response iterator of a channel with the single-threaded unary-stream option.

    Such a call has no thread: a caller that waits for its initial metadata takes events off the
    stream, which makes that a read too.
    """

    __slots__ = ("_self_initial_metadata",)

    _self_initial_metadata: steps.Step

    def initial_metadata(self) -> Any:
        """See grpc.Call.initial_metadata; a read until the metadata has arrived."""
        call = self.__wrapped__
        # Read here and not in _catalogue/grpcio.py: each of these calls runs this.
        if call._state.initial_metadata is not None:
            return call.initial_metadata()
        return self._self_initial_metadata()


class RequestIterator(NextProxy):
    """The user's request iterator, advanced by gRPC's own thread: the writing direction."""

    __slots__ = ()


_TWINS = RequestIterator._self_twins


def guard_requests(iterator: Any, stream: Stream) -> Any:
    """Return `iterator` guarded as the writing direction of `stream`.

    An object that is not an iterator is passed on, to fail inside the RPC as without the guard.
    """
    kind = type(iterator)
    if id(kind) not in _TWINS and (  # to have one it was looked at before
        not hasattr(kind, "__next__") or issubclass(kind, RequestIterator)
    ):
        return iterator
    bind(iterator, stream, "next(request_iterator)")
    return requests_of(iterator, stream)


requests_of = iterators(RequestIterator, steps.ClientRequests, reads=False)


def responses_of(call: Any, stream: Stream, kind: type[StreamCall] = StreamCall) -> StreamCall:
    """Return the proxy of a `call` that is the iterator of its responses."""
    origin = stream.origin
    source = call if origin is None or not origin.on_loop else watched(call, stream)
    direction = steps.Responses(stream, refusing(source, stream) if running else source)
    stream.track_call(call, has_ended)
    return proxy_of(kind, call, stream, direction.advance)


def single_threaded_responses_of(call: Any, stream: Stream) -> StreamCall:
    """Return that of a call that has no thread."""
    guarded: Any = responses_of(call, stream, SingleThreadedStreamCall)
    reading = steps.reading_responses_or_metadata(guarded._self_read, call)
    guarded._self_initial_metadata = reading[1]
    return cast("StreamCall", guarded)


def guard_call(call: Any, stream: Stream) -> Any:
    """Return the guarded twin of a client call; interceptors may return anything, even a twin."""
    if isinstance_exactly(call, StreamProxy) or not hasattr(type(call), "__next__"):
        return call
    if type(call) is _SINGLE_THREADED:
        return single_threaded_responses_of(call, stream)
    return responses_of(call, stream)


def guard_future(call: Any, stream: Stream) -> Any:
    """Return the guarded twin of a stream-unary future, if it is one."""
    if isinstance_exactly(call, StreamProxy) or not hasattr(type(call), "add_done_callback"):
        return call
    # grpcio's own future is also an iterator over its one response.
    if hasattr(type(call), "__next__"):
        return responses_of(call, stream)
    stream.track_call(call, has_ended)
    return proxy_of(Call, call, stream)
