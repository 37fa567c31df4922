"""Methods that are legal on any loop unless they must wait: for a status, a state, a server's end.

The loop of an operation is checked before it begins; that of these methods is not. On another
loop they are legal if they need not wait. If they must, grpcio's own error tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, TypeVar

from ..._catalogue.cpython import in_place_of
from ..._catalogue.grpcio import loop_of
from ..._catalogue.modes import ChooseMode, Mode
from ..._catalogue.nouns import AIO, CLIENT, SERVER
from ..._catalogue.rules.wrong_loop import CallAstray, ChannelAstray, ServerAstray
from ..._core.stream import Stream
from ..._guard.violations import failed_on_loop
from ..._lifecycle.channels import life_of
from ..._lifecycle.handlers import ALL_RPCS, handlers_of
from ..contract import Kind
from ..faithful import Forward
from ..proxy import StreamProxy, isinstance_exactly
from ..standing import Awaited, standing_for

T = TypeVar("T", bound=type)

FAILURES = (RuntimeError, ValueError)  # asyncio's errors for a future of another loop


def wait_failed(error: Exception, obj: Any, mode: Mode, operation: str) -> None:
    """Act on the `error` of a coroutine of `obj`, a plain channel or server, on a wrong loop."""
    life = life_of(obj)
    loop = loop_of(obj)
    if life is not None:
        use = Stream(life.target, CLIENT, AIO, mode, loop)
        use.channel = life
        failed_on_loop(error, use, operation, ChannelAstray)
    elif loop is not None:
        use = Stream(ALL_RPCS, SERVER, AIO, mode, loop)
        failed_on_loop(error, use, operation, ServerAstray, handlers_of(obj).origin)


class _Wait(Forward):
    """A method that waits, defined on the class as by Forward."""

    __slots__ = ()

    def __get__(self, proxy: Any, owner: Any) -> Any:
        method = super().__get__(proxy, owner)
        if proxy is None or not isinstance(method, MethodType):  # a mock has replaced it
            return method

        def wait(self: Any, *args: Any, **kwargs: Any) -> Any:
            return standing_for(method(*args, **kwargs), _wait, proxy, name)

        name = self.name
        return MethodType(in_place_of(method.__func__, wait), proxy)


async def _wait(held: Awaited, proxy: Any, name: str) -> Any:
    try:
        return await held.taken()
    except FAILURES as error:
        if isinstance_exactly(proxy, StreamProxy):
            failed_on_loop(error, proxy._self_stream, name, CallAstray)
        else:
            wait_failed(error, proxy.__wrapped__, proxy._self_choose(), name)
        raise


def waits(table: Mapping[str, Kind]) -> Callable[[T], T]:
    """Define on a proxy class every method of `table` that waits, unless the class has it."""

    def spell_out(proxy: T) -> T:
        for name, kind in table.items():
            if kind is Kind.LOOP and name not in vars(proxy):
                setattr(proxy, name, _Wait(name))
        return proxy

    return spell_out


def waiting(name: str, choose: ChooseMode, plain: Callable[..., Any]) -> Callable[..., Any]:
    """Return the replacement of grpcio's method `plain`, called `name`, while the guard is on."""

    async def wait(held: Awaited, self: Any) -> Any:
        try:
            return await held.taken()
        except FAILURES as error:
            mode = choose()
            if mode is not Mode.OFF:
                wait_failed(error, self, mode, name)
            raise

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return standing_for(plain(self, *args, **kwargs), wait, self)

    alike: Callable[..., Any] = in_place_of(plain, method)
    return alike
