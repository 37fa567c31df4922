"""Operations of the program's own calls and contexts, which may take more than gRPC's."""

from __future__ import annotations

import asyncio
import functools
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from ..._catalogue.clock import monotonic
from ..._catalogue.grpcio import is_of_grpcio
from ..._catalogue.nouns import SERVER
from ..._core.conflicts import contended_async
from ..._core.operations import operation
from ..._guard.violations import check_loop, used_after_end
from ..._lifecycle.cancellations import after_cancel
from ..itself import takes_more

# By the name of a method: the slot of its direction, and how many arguments gRPC's has.
_OPERATIONS = {
    "read": ("_self_read", 0),
    "write": ("_self_write", 1),
    "done_writing": ("_self_write", 0),
}


def taking_more(kind: type, plain: type, of: str = "") -> dict[str, Any]:
    """Return the operations of proxies of `kind` that take more around objects of type `plain`.

    In reports they have the name `of` what they are done before their own.
    """
    if is_of_grpcio(plain):
        return {}
    return {
        name: _by_itself(getattr(kind, name).__qualname__, name, slot, of + name)
        for name, (slot, given) in _OPERATIONS.items()
        if hasattr(kind, name) and takes_more(plain, name, given)
    }


@functools.cache  # an operation is known by its code, for ever
def _by_itself(qualname: str, name: str, slot: str, told: str) -> Callable[..., Any]:
    @operation(told)
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

    itself.__name__, itself.__qualname__ = name, qualname
    return itself
