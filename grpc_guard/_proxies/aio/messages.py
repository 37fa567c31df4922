"""The async iterator over a stream's messages, client and server: the reading direction."""

from __future__ import annotations

import asyncio
from _thread import get_ident
from types import AsyncGeneratorType
from typing import Any

from ..._catalogue.clock import monotonic
from ..._core.aio_methods import aio_method
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._core.recipes import argument, made_of, step
from ..._core.stream import AioDirection, Stream
from ..._guard.violations import check_loop, used_after_end
from ..._lifecycle.cancellations import after_cancel
from ..proxy import StreamProxy, new_proxy


@made_of(
    argument("_self_stream", 1),
    argument("_self_keeps", 3),
    argument("_self_read", 2),
    step("_self_anext", "advancing", 2),
    arguments=4,
    more=1,
)
class Messages(StreamProxy):
    """The iterator of ``async for``; shares its direction with ``read()``."""

    __slots__ = ("_self_anext", "_self_keeps", "_self_read")

    _self_anext: Any
    _self_read: AioDirection

    def __init__(
        self, iterator: Any, stream: Stream, direction: AioDirection, keeps: object = None
    ) -> None:
        self._self_wrapped = iterator
        self._self_stream = stream
        self._self_keeps = keeps  # as grpcio's own iterator keeps its call
        self._self_read = direction
        step = None  # that of the iterator, as it is then
        if direction._extra is not None:
            step = direction.advancing(iterator)
        elif type(iterator) is AsyncGeneratorType:  # which can have no other
            step = iterator.__anext__
        self._self_anext = step

    def __aiter__(self) -> Messages:
        plain = self.__wrapped__
        iterator = aiter(plain)  # one of the program may begin there, or make another
        if iterator is plain:
            return self
        return messages_of(iterator, self._self_stream, self._self_read, self._self_keeps)

    @aio_method("_self_read", "_self_anext")
    @operation("__anext__")
    async def __anext__(self) -> Any:
        direction = self._self_read
        if direction.stream.ended:
            used_after_end(direction.stream, "__anext__")
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "__anext__")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await (self._self_anext or self.__wrapped__.__anext__)()
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "__anext__", error)
                raise
            finally:
                direction.taken = False
        step = self._self_anext or self.__wrapped__.__anext__
        return await contended_async(direction, "__anext__", step)

    @operation("asend")
    async def asend(self, value: Any) -> Any:
        """A read, like ``__anext__``: see the method of async generators."""
        direction = self._self_read
        if direction.stream.ended:
            used_after_end(direction.stream, "asend")
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, "asend")
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.prepared(self.__wrapped__.asend)(value)
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, "asend", error)
                raise
            finally:
                direction.taken = False
        return await contended_async(
            direction, "asend", direction.prepared(self.__wrapped__.asend), value
        )


def messages_of(
    iterator: Any, stream: Stream, direction: AioDirection, keeps: object = None
) -> Messages:
    """Return the proxy of `iterator`: see Messages."""
    proxy: Messages = new_proxy(Messages)
    _init(proxy, iterator, stream, direction, keeps)
    plain = type(iterator)
    proxy._self_class = _twins.get(id(plain)) or Messages._make_twin(plain)
    return proxy


_init = Messages.__init__
_twins = Messages._self_twins
