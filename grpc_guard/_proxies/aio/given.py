"""What a streaming handler of the asyncio api is given: its context, and the iterator of its requests."""

from __future__ import annotations

import asyncio
import functools
import weakref
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from ..._catalogue.clock import monotonic
from ..._catalogue.nouns import READ, WRITE
from ..._core.aio_methods import aio_method, called, compiled
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._core.recipes import argument, made_of, new_direction, nothing
from ..._core.stream import AioDirection, Stream
from ..._guard.violations import check_loop, used_after_end
from ..._lifecycle.cancellations import after_cancel
from ..contexts import context_methods
from ..contract import AIO_CONTEXT
from ..itself import passes_on
from ..proxy import StreamProxy, in_c, iterates_as_usual, maker, new_proxy
from .itself import OF_CONTEXTS, taking_more
from .messages import Messages, messages_of


@made_of(
    argument("_self_stream", 1),
    argument("_self_read", 2),
    nothing("_self_messages"),
    arguments=3,
)
class RequestIterator(StreamProxy):
    """The requests of a stream; shares its direction with ``context.read()``."""

    __slots__ = ("_self_messages", "_self_read")

    _self_messages: Messages | None
    _self_read: AioDirection

    def __init__(self, requests: Any, stream: Stream, direction: AioDirection) -> None:
        self._self_wrapped = requests
        self._self_stream = stream
        self._self_read = direction
        self._self_messages = None

    @in_c("iterate_requests")
    def __aiter__(self) -> Messages:
        messages = self._self_messages
        if messages is None:
            plain = self.__wrapped__.__aiter__()
            direction = self._self_read
            messages = messages_of(plain, direction.stream, direction)
            _set_messages(self, messages)
        return messages

    def __anext__(self) -> Any:
        return self.__aiter__().__anext__()

    @classmethod
    def _self_around(cls, plain: type) -> dict[str, Any]:
        around = super()._self_around(plain)
        if not iterates_as_usual(plain):
            around |= {"__aiter__": _iterate, "__anext__": _advance}
        return around


def _iterate(self: RequestIterator) -> Messages:
    # An interceptor's object may set itself up in its __aiter__, or return a new iterator each time. That
    # is not kept: it ends when the program drops it.
    iterator, direction = aiter(self.__wrapped__), self._self_read
    if iterator is self.__wrapped__:
        return _messages_of_itself(self)
    return messages_of(iterator, direction.stream, direction)


def _advance(self: RequestIterator) -> Any:
    return _messages_of_itself(self).__anext__()


def _messages_of_itself(requests: RequestIterator) -> Messages:
    if requests._self_messages is None:
        direction = requests._self_read
        _set_messages(requests, messages_of(requests.__wrapped__, direction.stream, direction))
    return requests._self_messages  # type: ignore[return-value]


for name, function in (("__aiter__", _iterate), ("__anext__", _advance)):
    function.__name__, function.__qualname__ = name, f"RequestIterator.{name}"

# Past __setattr__, which looks at the name to find out whose attribute it is.
_set_messages = vars(RequestIterator)["_self_messages"].__set__

if compiled is not None:
    compiled.tell({"messages_of_requests": vars(RequestIterator)["_self_messages"]})


@made_of(
    argument("_self_stream", 1),
    new_direction("_self_read", READ, if_there=True),
    new_direction("_self_write", WRITE, if_there=True),
)
@context_methods(AIO_CONTEXT)
class Context(StreamProxy):
    """The context of a streaming handler: one reader beside one writer, while it runs."""

    __slots__ = ("_self_read", "_self_write")

    _self_read: AioDirection
    _self_write: AioDirection

    def __init__(self, context: Any, stream: Stream) -> None:
        self._self_wrapped = context
        self._self_stream = stream
        self._self_read = reader = AioDirection(stream, READ, getattr(context, "read", None))
        self._self_write = writer = AioDirection(stream, WRITE, getattr(context, "write", None))
        stream._read, stream._write = weakref.ref(reader), weakref.ref(writer)

    @classmethod
    def _self_around(cls, plain: type) -> dict[str, Any]:
        return super()._self_around(plain) | taking_more(cls, plain, OF_CONTEXTS)

    @aio_method("_self_read")
    @operation("context.read")
    @called("_ServicerContext.read")
    async def read(self) -> Any:
        """Receive one message, or grpc.aio.EOF; refused while a read is in progress."""
        direction = self._self_read
        if direction.stream.ended:
            used_after_end(direction.stream, "context.read")
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "context.read")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.step()
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "context.read", error)
                raise
            finally:
                direction.taken = False
        return await contended_async(direction, "context.read", direction.step)

    @aio_method("_self_write")
    @operation("context.write")
    @called("_ServicerContext.write")
    async def write(self, message: Any) -> None:
        """Send one message; refused while a write is in progress."""
        direction = self._self_write
        if direction.stream.ended:
            used_after_end(direction.stream, "context.write")
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "context.write")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.step(message)  # type: ignore[no-any-return]
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "context.write", error)
                raise
            finally:
                direction.taken = False
        await contended_async(direction, "context.write", direction.step, message)

    @passes_on
    def add_done_callback(
        self, callback: Callable[[Any], object], *more: Any, **named: Any
    ) -> None:
        """See grpc.aio.ServicerContext.add_done_callback.

        `callback` gets the guarded context, and may use it after the end.
        """

        @functools.wraps(callback, updated=())
        def visit(_: object) -> None:
            stream = self._self_stream
            stream.in_done_callback = True
            try:
                callback(self)
            finally:
                stream.in_done_callback = False

        self.__wrapped__.add_done_callback(visit, *more, **named)


context_of = maker(Context)


def requests_of(plain: Any, stream: Stream, direction: AioDirection) -> RequestIterator:
    """Return the proxy of the iterator of a handler's requests: see RequestIterator."""
    proxy: RequestIterator = new_proxy(RequestIterator)
    _init(proxy, plain, stream, direction)
    kind = type(plain)
    proxy._self_class = _twins.get(id(kind)) or RequestIterator._make_twin(kind)
    return proxy


_init = RequestIterator.__init__
_twins = RequestIterator._self_twins
