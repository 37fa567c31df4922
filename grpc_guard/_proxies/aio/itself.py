"""Operations of the program's own calls and contexts, which may take more than gRPC's."""

from __future__ import annotations

import asyncio
import functools
from _thread import get_ident
from collections.abc import Callable, Mapping
from typing import Any

from ..._catalogue.clock import monotonic
from ..._catalogue.grpcio import is_of_grpcio
from ..._catalogue.nouns import SERVER
from ..._core.aio_methods import called
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._guard.violations import check_loop, used_after_end
from ..._lifecycle.cancellations import after_cancel
from ..itself import takes_more


def _by_itself(qualname: str, slot: str, of: str = "") -> Callable[..., Any]:
    """Return a method called so, which claims the direction in `slot`; in reports `of` is before its name."""
    name = qualname.rpartition(".")[2]
    told = of + name

    @operation(told)
    @called(qualname)
    async def itself(self: Any, *args: Any, **kwargs: Any) -> Any:
        direction = getattr(self, slot)
        if direction.stream.side == SERVER and direction.stream.ended:
            used_after_end(direction.stream, told)
        if direction.loop_thread._thread_id != get_ident():
            check_loop(direction.stream, told)
        if not direction.taken:
            direction.taken = True
            try:
                direction.since = monotonic()
                return await direction.prepared(getattr(self.__wrapped__, name))(*args, **kwargs)
            except asyncio.CancelledError as error:
                after_cancel(direction.stream, told, error)
                raise
            finally:
                direction.taken = False
        step = direction.prepared(getattr(self.__wrapped__, name))
        step = functools.partial(step, **kwargs) if kwargs else step
        return await contended_async(direction, told, step, *args)

    return itself


# By their names: how many arguments gRPC's have, and those of objects that may take more.
_Operations = Mapping[str, tuple[int, Callable[..., Any]]]
OF_CALLS: _Operations = {
    "read": (0, _by_itself("_StreamResponseMixin.read", "_self_read")),
    "write": (1, _by_itself("_StreamRequestMixin.write", "_self_write")),
    "done_writing": (0, _by_itself("_StreamRequestMixin.done_writing", "_self_write")),
}
OF_CONTEXTS: _Operations = {
    "read": (0, _by_itself("_ServicerContext.read", "_self_read", "context.")),
    "write": (1, _by_itself("_ServicerContext.write", "_self_write", "context.")),
}


def taking_more(kind: type, plain: type, operations: _Operations) -> dict[str, Any]:
    """Return those `operations` of proxies of `kind` that take more around objects of type `plain`."""
    if is_of_grpcio(plain):
        return {}
    return {
        name: method
        for name, (given, method) in operations.items()
        if hasattr(kind, name) and takes_more(plain, name, given)
    }
