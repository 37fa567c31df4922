"""Server handlers of the sync api: what they are given, and what they give back."""

from __future__ import annotations

from _thread import get_ident
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from .._contexts import context_methods
from .._contract import SYNC_CONTEXT
from .._guard import GIVE_BACK, Direction, Stream
from .._handling import Handlers
from .._iterators import bind
from .._modes import ChooseMode, Mode
from .._owners import operation
from .._proxy import NextProxy, StreamProxy
from .._rules import CONCURRENT_READ, CONCURRENT_WRITE
from .._servers import GuardedBehavior
from .._violations import contended, used_after_end
from .steps import Requests, UsersResponses

if TYPE_CHECKING:
    pass


class RequestIterator(NextProxy):
    """The requests of a stream: read by one thread at a time, while the handler runs."""

    __slots__ = ()

    def __init__(self, requests: Any, stream: Stream) -> None:
        direction = Requests(stream, CONCURRENT_READ, requests.__next__)
        super().__init__(requests, stream, direction)
        stream.read = direction


class ResponseIterator(NextProxy):
    """The responses of a handler, advanced by gRPC: the writing direction.

    The handler ends when they do.
    """

    __slots__ = ()

    def __init__(self, responses: Any, stream: Stream) -> None:
        direction = UsersResponses(stream, CONCURRENT_WRITE, responses.__next__)
        super().__init__(responses, stream, direction)
        stream.write = direction


class Sender:
    """The callback through which a non-blocking handler sends its responses; None ends it."""

    def __init__(self, send: Callable[[Any], None], stream: Stream) -> None:
        self._write = stream.write = Direction(stream, CONCURRENT_WRITE, send)

    @operation("send_response")
    def __call__(self, response: Any) -> None:
        direction = self._write
        if direction.stream.ended:
            used_after_end(direction.stream, "send_response")
        try:
            del direction[1]
        except IndexError:
            pass
        else:
            try:
                direction.owner = get_ident()
                direction.since = monotonic()
                direction.step(response)
                return
            finally:
                direction += GIVE_BACK
                if response is None:
                    direction.stream.ended = True
        contended(direction, "send_response", direction.step, response)


@context_methods(SYNC_CONTEXT)
class Context(StreamProxy):
    """The context of a streaming handler, usable while the handler runs.

    Its state (metadata, code, deadline, is_active(), cancel()) may be looked at and set by
    anyone at any time.
    """

    __slots__ = ()

    def add_callback(self, callback: Callable[[], object]) -> Any:
        """See grpc.RpcContext.add_callback; `callback` may use the context after the end."""
        stream = self._self_stream

        def visit() -> None:
            stream.visited = True
            try:
                callback()
            finally:
                stream.visited = False

        return self.__wrapped__.add_callback(visit)


def has_ended(context: Any) -> bool:
    """Tell whether the RPC of a server context is over; an unknown kind of context never is."""
    is_active = getattr(context, "is_active", None)
    return is_active is not None and not is_active()


def guard_behavior(behavior: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a sync handler function whose stream objects are guarded; see handling()."""
    return GuardedBehavior(behavior, handling(*args, **kwargs))


def handling(
    rpc: str,
    choose: ChooseMode,
    request_streaming: bool,
    response_streaming: bool,
    *,
    handlers: Handlers,
    api: str = "sync",
) -> Callable[..., Any]:
    """Return what does a sync handler with guarded stream objects."""

    def handle(
        behavior: Callable[..., Any], instance: object, args: tuple[Any, ...], kwargs: Any
    ) -> Any:
        mode = choose()
        if mode is Mode.OFF or len(args) < 2:  # with fewer, it is not gRPC that calls
            return behavior(*args, **kwargs)
        request, context, *senders = args
        stream = Stream(rpc, "server", api, mode)
        stream.keep(context, has_ended)
        handlers.enter(stream)
        if request_streaming and hasattr(type(request), "__next__"):
            request = RequestIterator(request, stream)
        context = Context(context, stream)
        if senders:
            return behavior(request, context, *(Sender(send, stream) for send in senders), **kwargs)
        if response_streaming:
            return _respond(behavior(request, context, **kwargs), stream)
        try:
            return behavior(request, context, **kwargs)
        finally:
            stream.ended = True

    return handle


def _respond(responses: Any, stream: Stream) -> Any:
    if not hasattr(type(responses), "__next__"):
        return responses  # no iterator: gRPC fails the RPC, as it always did
    guarded = ResponseIterator(responses, stream)
    bind(responses, stream, "return of a response iterator")
    return guarded
