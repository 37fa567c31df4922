"""Server handlers of the sync api: what they are given, and what they give back."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from ..._catalogue.boundary import asked
from ..._catalogue.cpython import in_place_of
from ..._catalogue.grpcio_contexts import context_within
from ..._catalogue.modes import ChooseMode, Mode, current_mode, fixed_mode, in_force
from ..._catalogue.nouns import SERVER, SYNC, Api
from ..._core import entries, steps, which
from ..._core.stream import Stream
from ..._guard.generators import bind
from ..._lifecycle.callbacks import run_callback
from ..._lifecycle.handlers import Handlers
from ..behaviors import Replace, guarded_behavior
from ..contexts import context_methods
from ..contract import SYNC_CONTEXT
from ..itself import passes_on
from ..proxy import NextProxy, StreamProxy, iterators, proxy_of

OFF = Mode.OFF


class RequestIterator(NextProxy):
    """The requests of a stream: read by one thread at a time, while the handler runs."""

    __slots__ = ()


requests_of = iterators(RequestIterator, steps.Requests, reads=True)


class ResponseIterator(NextProxy):
    """The responses of a handler, advanced by gRPC: the writing direction.

    The handler ends when they do.
    """

    __slots__ = ()


responses_of = iterators(ResponseIterator, steps.HandlerResponses, reads=False)


def guard_sender(send: Callable[[Any], None], stream: Stream) -> Callable[[Any], None]:
    """Return the guarded twin of the callback through which a non-blocking handler responds."""
    direction: Any = steps.SentResponses(stream, steps.IteratorFromFunction(send))
    stream.write = direction
    advance: Callable[[Any], None] = direction.advance
    return advance


@context_methods(SYNC_CONTEXT)
class Context(StreamProxy):
    """The context of a streaming handler, usable while the handler runs.

    Any thread may read and set its state (metadata, code, deadline, is_active(), cancel()) at
    any time.
    """

    __slots__ = ()

    @passes_on
    def add_callback(self, callback: Callable[[], object], *more: Any, **named: Any) -> Any:
        """See grpc.RpcContext.add_callback; `callback` may use the context after the end."""
        stream = self._self_stream

        def visit() -> None:
            stream.in_done_callback = True
            try:
                run_callback(callback, stream)
            finally:
                stream.in_done_callback = False

        return self.__wrapped__.add_callback(visit, *more, **named)


def has_ended(context: Any) -> bool:
    """Tell whether the RPC of a server context is over; a kind of context that does not tell never is."""
    own = context_within(context)
    is_active = asked(context if own is None else own, "is_active")
    return is_active is not None and not is_active


def guard_behavior(
    behavior: Any, rpc: str, choose: ChooseMode, *streaming: bool, handlers: Handlers
) -> Any:
    """Return a sync handler function whose stream objects are guarded; see replacing()."""
    return guarded_behavior(behavior, choose, replacing(rpc, choose, *streaming, handlers=handlers))


def replacing(
    rpc: str,
    choose: ChooseMode,
    request_streaming: bool,
    response_streaming: bool,
    *,
    handlers: Handlers,
    api: Api = SYNC,
) -> Replace:
    """Return what replaces a sync handler function: its stream objects are guarded.

    Those of a unary one are not; that it runs is noted.
    """
    # A grpc.aio server learns of the end of an RPC in another way, and runs handlers elsewhere.
    is_followed = api == SYNC
    enter, enter_unary = handlers.enter, handlers.enter_unary

    def in_c(function: Any, plain: Any, first: int, enter: Any) -> Any:
        """Return what passes for `function`, and does the same with no frame; or the function."""
        if _compiled is None:
            return function
        handle = _compiled.Handling(
            in_place_of(plain, function),
            plain,
            first,
            choose,
            in_force if choose is current_mode else fixed_mode(choose),
            enter,
            rpc,
            api,
            is_followed,
            request_streaming,
            response_streaming,
        )
        # In the pool of an aio server gRPC shows no frame of its own: that of the function tells
        # that a thread is inside. (No comment right above it: inspect.getcomments() would show that.)
        if is_followed:
            return handle
        return lambda *args, **kwargs: handle(*args, **kwargs)

    def replace_unary(plain: Callable[..., Any], first: int) -> Any:
        second = first + 1
        if is_followed and isinstance(handlers, entries.InFlight):  # of the core in Python
            return handlers.noting(plain, second, rpc, choose)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if choose() is OFF or len(args) <= second:  # with fewer, it is not gRPC that calls
                return plain(*args, **kwargs)
            entry = enter_unary(rpc, args[second] if is_followed else None)
            try:
                return plain(*args, **kwargs)
            finally:
                entry.ended = True

        return in_c(guarded, plain, first, enter_unary)

    def replace(plain: Callable[..., Any], first: int) -> Any:
        second = first + 1

        def guarded(*args: Any, **kwargs: Any) -> Any:
            mode = choose()
            if mode is OFF or len(args) <= second:  # with fewer, it is not gRPC that calls
                return plain(*args, **kwargs)
            behavior = plain
            if first:
                behavior, args = MethodType(plain, args[0]), args[1:]
            request, context, rest = args[0], args[1], args[2:]
            stream = Stream(rpc, SERVER, api, mode)
            stream._context, stream._has_ended = context, has_ended  # as track_context() does
            enter(stream, context if is_followed else None)
            if request_streaming and hasattr(type(request), "__next__"):
                request = requests_of(request, stream)
            context = proxy_of(Context, context, stream)
            if rest and getattr(plain, "experimental_non_blocking", False):
                rest = guard_sender(rest[0], stream), *rest[1:]
                return behavior(request, context, *rest, **kwargs)
            if response_streaming:
                return _respond(behavior(request, context, *rest, **kwargs), stream)
            try:
                return behavior(request, context, *rest, **kwargs)
            finally:
                stream.ended = True

        return in_c(guarded, plain, first, enter)

    return replace if request_streaming or response_streaming else replace_unary


def _respond(responses: Any, stream: Stream) -> Any:
    if not hasattr(type(responses), "__next__"):
        return responses  # not an iterator: gRPC fails the RPC, as without the guard
    guarded = responses_of(responses, stream)
    bind(responses, stream, "return of a response iterator")
    return guarded


_compiled = which.compiled()
if _compiled is not None:
    _compiled.tell(
        {
            "received_twins": RequestIterator._self_twins,
            "Requests": steps.Requests,
            "RequestIterator": requests_of,
            "context_twins": Context._self_twins,
            "Context": Context,
            "context_has_ended": has_ended,
            "response_twins": ResponseIterator._self_twins,
            "HandlerResponses": steps.HandlerResponses,
            "respond": _respond,
            "returns": "return of a response iterator",
        }
    )
