"""What guarded multi-callables, sync and aio, have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .._catalogue.modes import ChooseMode, Mode, fixed_mode, in_force
from .._core import which
from .once import unguarded
from .proxy import Proxy

OFF = Mode.OFF
REQUESTS = "request_iterator"  # what grpcio calls the argument

_compiled = which.compiled()
if _compiled is not None:
    _compiled.tell({"fixed_mode": fixed_mode})

# A method of grpcio's own multi-callable: its arguments are passed on unseen.
PlainStart = Callable[..., Any]


class StartRpc(Protocol):
    """Starts a guarded RPC by `start`, a plain method of `multi_callable`, with these arguments."""

    def __call__(
        self,
        multi_callable: Any,
        start: PlainStart,
        rpc: str,
        mode: Mode,
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any: ...


class MultiCallable(Proxy):
    """A guarded multi-callable, as a stub's methods are."""

    __slots__ = ("_self_choose", "_self_rpc")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if _compiled is not None:
            _compiled.calls_by_slot(cls)

    def __init__(self, multi_callable: Any, rpc: str, choose: ChooseMode) -> None:
        super().__init__(multi_callable)
        self._self_rpc = rpc
        self._self_choose = choose


def guarding(qualname: str, start: StartRpc) -> Callable[..., Any]:
    """Return the method of a multi-callable's proxy which starts its RPCs by `start`."""
    name = qualname.rpartition(".")[2]
    is_call = name == "__call__"

    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        plain = wrapped = self.__wrapped__
        rpc = self._self_rpc
        if in_force.mode is not OFF:
            plain = unguarded(wrapped, name, rpc)
        elif not is_call:  # the interpreter finds a __call__ by the type
            plain = getattr(wrapped, name)
        mode = self._self_choose()
        if mode is OFF:
            return plain(*args, **kwargs)
        return start(wrapped, plain, rpc, mode, *args, **kwargs)

    method.__name__, method.__qualname__ = name, qualname
    return method
