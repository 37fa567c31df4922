"""What the servicer contexts of both apis share: methods that are illegal after the handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import wrapt

from .._core.stream import Stream
from .._guard.violations import check_loop, used_after_end
from .contract import Kind, forwards
from .standing import Awaited, standing_for

T = TypeVar("T", bound=type)

# Those that are coroutines must wait, and fail on a loop other than the stream's.
_AWAITED = ("abort", "abort_with_status", "send_initial_metadata")


class Touch:
    """A method that uses the server's call: ConcurrencyError after the handler has ended.

    A descriptor, so that the proxy lacks a method that the wrapped context lacks.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, proxy: Any, owner: type | None = None) -> Any:
        if proxy is None:
            return self
        method, stream = getattr(proxy.__wrapped__, self.name), proxy._self_stream

        def touch(method: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
            if stream.ended:
                used_after_end(stream, f"context.{self.name}")
            if stream.loop is not None and self.name in _AWAITED:
                return standing_for(method(*args, **kwargs), _on_its_loop, stream, self.name)
            return method(*args, **kwargs)

        return wrapt.FunctionWrapper(method, touch)


async def _on_its_loop(held: Awaited, stream: Stream, name: str) -> Any:
    # Not before it is awaited: another thread may pass it to the loop.
    try:
        check_loop(stream, f"context.{name}")
    except BaseException:
        held.close()  # the frame of what is raised may keep it
        raise
    return await held.taken()


def context_methods(table: Mapping[str, Kind]) -> Callable[[T], T]:
    """Define on a context's proxy every method of `table` that it does not define itself."""

    def spell_out(proxy: T) -> T:
        for name, kind in table.items():
            if kind is Kind.TOUCH and name not in vars(proxy):
                setattr(proxy, name, Touch(name))
        return forwards(table)(proxy)

    return spell_out
