"""What guarded multi-callables, sync and aio, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._catalogue.modes import ChooseMode, Mode
from .once import unguarded
from .proxy import Proxy


class MultiCallable(Proxy):
    """A guarded multi-callable: what a stub's method is."""

    __slots__ = ("_self_choose", "_self_rpc")

    def __init__(self, multi_callable: Any, rpc: str, choose: ChooseMode) -> None:
        super().__init__(multi_callable)
        self._self_rpc = rpc
        self._self_choose = choose


def guarding(name: str, start: Callable[..., Any]) -> Callable[..., Any]:
    """Return method `name` of a multi-callable's proxy, which does what `start` says."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        plain = unguarded(self.__wrapped__, name, self._self_rpc)
        mode = self._self_choose()
        if mode is Mode.OFF:
            return plain(*args, **kwargs)
        return start(self.__wrapped__, plain, self._self_rpc, mode, *args, **kwargs)

    method.__name__ = name
    return method
