"""Client calls of the asyncio api: reading, writing, and what feeds the request side."""

from __future__ import annotations

import asyncio
import weakref
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from ..._catalogue.boundary import asked
from ..._catalogue.clock import monotonic
from ..._catalogue.cpython_loops import running_loop
from ..._catalogue.grpcio import INTERCEPTORS_TASK
from ..._catalogue.nouns import READ, WRITE
from ..._core.aio_methods import aio_method, called, compiled
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._core.recipes import argument, made_of, new_direction, nothing
from ..._core.stream import AioDirection, Stream
from ..._guard.violations import check_loop
from ..._lifecycle.cancellations import after_cancel, before_await, give_up
from ..._lifecycle.mutations import Handed
from ..contract import AIO_CALL, forwards
from ..itself import passes_on
from ..proxy import GuardedCallback, StreamProxy, in_c, isinstance_exactly
from .itself import OF_CALLS, taking_more
from .messages import Messages, messages_of
from .waits import waits


def has_ended(call: Any) -> bool:
    """Tell whether the RPC of a client call is over."""
    return bool(asked(call, "done"))


_STREAM = argument("_self_stream", 1)
_READER = _STREAM, new_direction("_self_read", READ), nothing("_self_messages")
_WRITER = new_direction("_self_write", WRITE)


@waits(AIO_CALL)
@forwards(AIO_CALL)
class Call(StreamProxy):
    """What the client calls of all arities share."""

    __slots__ = ()

    def __init__(self, call: Any, stream: Stream) -> None:
        self._self_wrapped = call
        self._self_stream = stream
        stream.track_call(call, has_ended)

    @classmethod
    def _self_around(cls, plain: type) -> dict[str, Any]:
        return super()._self_around(plain) | taking_more(cls, plain, OF_CALLS)

    @passes_on
    def cancel(self, *more: Any, **named: Any) -> Any:
        """See grpc.aio.Call.cancel."""
        give_up(self._self_stream)
        return self.__wrapped__.cancel(*more, **named)

    @passes_on
    def add_done_callback(
        self, callback: Callable[[Any], object], *more: Any, **named: Any
    ) -> None:
        """See grpc.aio.Call.add_done_callback; `callback` gets the guarded call."""
        guarded = GuardedCallback(callback, self) if callable(callback) else callback
        self.__wrapped__.add_done_callback(
            guarded, *more, **named
        )  # grpcio refuses what cannot be called


def _await(self: Call) -> Any:
    stream = self._self_stream
    if running_loop() is not stream.loop:
        check_loop(stream, "await")
    return self.__wrapped__.__await__()


@aio_method("_self_write")
@operation("write")
@called("_StreamRequestMixin.write")
async def write(self: Any, request: Any) -> None:
    """Send one message; refused while a write or done_writing() is in progress."""
    direction = self._self_write
    if direction.loop_thread._thread_id != get_ident():
        check_loop(direction.stream, "write")
    if not direction.taken:
        direction.taken = True
        try:
            direction.since = monotonic()
            return await direction.step(request)  # type: ignore[no-any-return]
        except asyncio.CancelledError as error:
            after_cancel(direction.stream, "write", error)
            raise
        finally:
            direction.taken = False
    await contended_async(direction, "write", direction.step, request)


@aio_method("_self_write", of_wrapped="done_writing")
@operation("done_writing")
@called("_StreamRequestMixin.done_writing")
async def done_writing(self: Any) -> None:
    """Close the send side; a write in the sense of the contract."""
    direction = self._self_write
    if direction.loop_thread._thread_id != get_ident():
        check_loop(direction.stream, "done_writing")
    if not direction.taken:
        direction.taken = True
        try:
            direction.since = monotonic()
            return await direction.prepared(self.__wrapped__.done_writing)()  # type: ignore[no-any-return]
        except asyncio.CancelledError as error:
            after_cancel(direction.stream, "done_writing", error)
            raise
        finally:
            direction.taken = False
    await contended_async(
        direction, "done_writing", direction.prepared(self.__wrapped__.done_writing)
    )


@operation("write", owns=False)
@called("_InterceptedStreamRequestMixin.write")
async def queued_write(self: Any, request: Any) -> None:
    """Send one message through the queue that grpcio has for calls with interceptors.

    Writes may overlap there, and done_writing() may follow one that waits. A message that is
    written after done_writing() has begun would never be sent: it is refused.
    """
    direction = self._self_write
    if direction.loop_thread._thread_id != get_ident():
        check_loop(direction.stream, "write")
    plain = direction.counted(self.__wrapped__.write)
    if direction.taken and not direction.is_free:
        return await contended_async(direction, "write", plain, request)
    with Handed(self.__wrapped__, request, direction.stream):
        await plain(request)


@made_of(*_READER, has_ended=has_ended)
class ReadingCall(Call):
    """A call with many responses, whose requests do not come from ``write()``.

    At most one task is in ``read()`` or ``async for`` at a time; another gets
    ConcurrencyError before grpcio is reached.
    """

    __slots__ = ("_self_messages", "_self_read")

    _self_messages: weakref.ref[Messages] | None
    _self_read: AioDirection

    def __init__(self, call: Any, stream: Stream) -> None:
        Call.__init__(self, call, stream)
        self._self_read = direction = AioDirection(stream, READ, call.read)
        stream._read = weakref.ref(direction)
        self._self_messages = None

    @aio_method("_self_read")
    @operation("read")
    @called("_StreamResponseMixin.read")
    async def read(self) -> Any:
        """Receive one message, or grpc.aio.EOF; refused while a read is in progress."""
        direction = self._self_read
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "read")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.step()
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "read", error)
                raise
            finally:
                direction.taken = False
        return await contended_async(direction, "read", direction.step)

    @in_c("iterate_call")
    def __aiter__(self) -> Messages:
        plain = self.__wrapped__.__aiter__()
        known = self._self_messages
        messages = None if known is None else known()
        if messages is None or messages.__wrapped__ is not plain:
            direction = self._self_read
            messages = messages_of(plain, direction.stream, direction, self)
            _set_messages(self, weakref.ref(messages))  # it keeps this call
        return messages


# Past __setattr__, which looks at the name to find out whose attribute it is.
_set_messages = vars(ReadingCall)["_self_messages"].__set__

if compiled is not None:
    compiled.tell({"Messages": Messages, "messages_of_call": vars(ReadingCall)["_self_messages"]})


@made_of(*_READER, _WRITER, has_ended=has_ended)
class DuplexCall(ReadingCall):
    """A stream-stream call that sends with ``write()``: one reader beside one writer."""

    __slots__ = ("_self_write",)

    def __init__(self, call: Any, stream: Stream) -> None:
        ReadingCall.__init__(self, call, stream)
        self._self_write = direction = AioDirection(stream, WRITE, call.write)
        stream._write = weakref.ref(direction)

    write = write
    done_writing = done_writing


@made_of(*_READER, _WRITER, has_ended=has_ended)
class QueuedDuplexCall(DuplexCall):
    """A stream-stream call with interceptors, whose messages wait in a queue of grpcio's."""

    __slots__ = ()

    write = queued_write


@made_of(_STREAM, has_ended=has_ended)
class AwaitableCall(Call):
    """A call with one response, whose requests do not come from ``write()``."""

    __slots__ = ()

    __await__ = _await


@made_of(_STREAM, _WRITER, has_ended=has_ended)
class WritingCall(Call):
    """A stream-unary call that sends with ``write()``."""

    __slots__ = ("_self_write",)

    def __init__(self, call: Any, stream: Stream) -> None:
        Call.__init__(self, call, stream)
        self._self_write = direction = AioDirection(stream, WRITE, call.write)
        stream._write = weakref.ref(direction)

    def __await__(self) -> Any:
        before_await(self._self_write)
        return _await(self)

    write = write
    done_writing = done_writing


@made_of(_STREAM, _WRITER, has_ended=has_ended)
class QueuedWritingCall(WritingCall):
    """A stream-unary call with interceptors, whose messages wait in a queue of grpcio's."""

    __slots__ = ()

    write = queued_write


_QUEUED: dict[type[Call], type[Call]] = {
    DuplexCall: QueuedDuplexCall,
    WritingCall: QueuedWritingCall,
}


def guard_call(call: Any, stream: Stream, kind: type[Call]) -> Any:
    """Return the guarded twin of `call`, a client call of this kind."""
    if isinstance_exactly(call, StreamProxy):
        return call
    if hasattr(call, INTERCEPTORS_TASK):
        kind = _QUEUED.get(kind, kind)
    return kind(call, stream)
