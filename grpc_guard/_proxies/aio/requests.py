"""What feeds the request side of a client's asyncio call: the iterator of the user, advanced by gRPC."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

from ..._catalogue.clock import monotonic
from ..._catalogue.nouns import WRITE
from ..._core import steps
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._core.stream import GrpcDriven, Stream
from ..._guard.generators import bind
from ..._lifecycle.blocking import on_the_loop
from ..._lifecycle.losses import iterator_raised
from ..proxy import StreamProxy, isinstance_exactly, proxy_of
from ..sync.calls import RequestIterator


class AsyncRequestIterator(StreamProxy):
    """The user's async request iterator, advanced by gRPC: the writing direction."""

    __slots__ = ("_self_write",)

    def __init__(self, iterator: Any, stream: Stream) -> None:
        super().__init__(iterator, stream)
        # Like ``async for``, each step looks for __anext__ on the type. A mere iterable has none: its
        # __aiter__() makes the iterator.
        step = MethodType(anext, iterator) if hasattr(type(iterator), "__anext__") else None
        self._self_write = stream.write = GrpcDriven(stream, WRITE, step)

    def __aiter__(self) -> AsyncRequestIterator:
        plain = self.__wrapped__.__aiter__()
        if plain is self.__wrapped__:
            return self
        return AsyncRequestIterator(plain, self._self_stream)

    @operation("anext(request_iterator)", iterates=True)
    async def __anext__(self) -> Any:
        direction = self._self_write
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.step()
            except Exception as error:
                iterator_raised(direction.stream, "anext(request_iterator)", error)
                raise
            finally:
                direction.taken = False
        return await contended_async(
            direction, "anext(request_iterator)", partial(_take, direction)
        )


async def _take(direction: Any) -> Any:
    """Do the step of a `direction` in one's turn."""
    try:
        return await direction.step()
    except Exception as error:
        iterator_raised(direction.stream, "anext(request_iterator)", error)
        raise


class SyncRequestIterator(RequestIterator):
    """The user's sync request iterator, which gRPC advances on the event loop."""

    __slots__ = ()

    def _self_iterated(self, iterator: Any) -> Any:
        return sync_requests_of(iterator, self._self_stream)


def sync_requests_of(iterator: Any, stream: Stream) -> SyncRequestIterator:
    """Return the proxy of a sync request iterator, which gRPC advances on the event loop."""
    stream.write = direction = steps.ClientRequests(stream, iterator)
    direction.iterator = on_the_loop(direction.iterator, iterator, stream)
    return proxy_of(SyncRequestIterator, iterator, stream, direction.advance)


def guard_requests(iterator: Any, stream: Stream) -> Any:
    """Return `iterator` guarded as the writing direction of `stream`.

    It may be a sync iterator too. A mere iterable, such as a list, makes a new iterator for each
    RPC: it is passed on unchanged, as is any other object.
    """
    kind: Callable[[Any, Stream], Any]
    # Not by isinstance(), which compares types: a metaclass of the program may refuse that.
    if hasattr(type(iterator), "__aiter__"):
        kind = AsyncRequestIterator
    elif hasattr(type(iterator), "__next__"):
        kind = sync_requests_of
    else:
        return iterator
    if isinstance_exactly(iterator, (AsyncRequestIterator, RequestIterator)):
        return iterator
    bind(iterator, stream, "anext(request_iterator)")
    return kind(iterator, stream)
