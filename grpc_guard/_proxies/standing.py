"""Coroutines that stand for others: of the same name, and as silent if they are never begun."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec

P = ParamSpec("P")


class Awaited:
    """What a coroutine will await.

    If that coroutine is closed, cancelled or dropped before its first step, what it would have
    awaited is closed: nobody has forgotten to await that.
    """

    __slots__ = ("_awaitable",)

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable: Awaitable[Any] | None = awaitable

    def taken(self) -> Any:
        """Return it, to be awaited at once."""
        awaitable, self._awaitable = self._awaitable, None
        return awaitable

    def close(self) -> None:
        """Have it never awaited, and Python not warn of that."""
        if isinstance(self._awaitable, Coroutine):
            self._awaitable.close()

    __del__ = close


def standing_for(
    awaitable: Awaitable[Any],
    function: Callable[Concatenate[Awaited, P], Coroutine[Any, Any, Any]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Coroutine[Any, Any, Any]:
    """Return the coroutine that `function` makes, which awaits `awaitable`; it has the name of that."""
    made = function(Awaited(awaitable), *args, **kwargs)
    for attribute in ("__name__", "__qualname__"):
        name = getattr(awaitable, attribute, None)
        if isinstance(name, str):
            setattr(made, attribute, name)
    return made
