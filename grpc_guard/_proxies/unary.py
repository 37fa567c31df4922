"""Unary RPCs: they have no directions; only the channel that they start on can be wrong.

A healthy one makes no record, and costs two checks: whether this process was forked, and whether
grpcio refused to start it. All else is computed only if something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._catalogue import forks
from .._catalogue.boundary import never_disturbs
from .._catalogue.cpython_loops import running_loop
from .._catalogue.modes import Mode, current_mode, in_force
from .._catalogue.nouns import CLIENT, SYNC, Subject
from .._core import which
from .._lifecycle.blocking import blocking
from .._lifecycle.channels import life_of
from .._lifecycle.starts import REFUSALS, failed_to_start, starting_unary
from .multicallables import PlainStart
from .once import name_of, patched, starting
from .proxy import Proxy

# The same code three times, and once more in the aio channel, because a hundred nanoseconds matter
# to a unary RPC. The mode and the name, which a healthy RPC does not need, are read only if
# something is wrong.


def start_watched(multi_callable: Any, start: PlainStart, rpc: str, args: Any, kwargs: Any) -> Any:
    """Start a unary RPC by `start`, a plain method of `multi_callable`."""
    if forks.generation:
        _look_back(multi_callable, rpc)
    try:
        return start(*args, **kwargs)
    except REFUSALS as error:
        refused(multi_callable, rpc, error)
        raise


def watching(plain: PlainStart, *, blocks: bool = False) -> PlainStart:
    """Return the replacement of `plain` on grpcio's own class; inert while the guard is off.

    `blocks` tells that it returns when the RPC has ended.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if forks.generation and current_mode() is not Mode.OFF:
            _look_back(self, self._method)
        try:
            if blocks and running_loop() is not None and current_mode() is not Mode.OFF:
                return blocking(plain, _subject(self._method), self, *args, **kwargs)
            return plain(self, *args, **kwargs)
        except REFUSALS as error:
            if current_mode() is not Mode.OFF and starting.rpc != name_of(self._method):
                refused(self, self._method, error)
            raise

    return method


def watching_below(qualname: str) -> PlainStart:
    """Return a method of a proxy of a sync multi-callable."""
    name = qualname.rpartition(".")[2]
    is_call, blocks = name == "__call__", name != "future"

    def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        plain = function = self.__wrapped__
        if forks.generation and _tells(self):
            _look_back(plain, self._self_rpc)
        if not is_call:  # the interpreter finds a __call__ by the type
            function = getattr(plain, name)
        try:
            if blocks and running_loop() is not None and _tells(self):
                return blocking(function, _subject(self._self_rpc), *args, **kwargs)
            return function(*args, **kwargs)
        except REFUSALS as error:
            refused_below(self, error)
            raise

    method.__name__, method.__qualname__ = name, qualname
    return method


def in_c(
    method: PlainStart,
    refused: Callable[[Any, BaseException], None],
    refused_late: Callable[[Any, Any], None] | None = None,
    late: str | None = None,
) -> PlainStart:
    """Return `method`, the ``__call__`` of a proxy, or what does the same in C where it can.

    ``refused(proxy, error)`` acts on an error of grpcio's, ``refused_late(proxy, call)`` on a call
    that has the attribute `late`: the asyncio api alone has those.
    """
    compiled = which.compiled()
    if compiled is None:
        return method
    quick: PlainStart = compiled.UnaryStart(
        method,
        vars(forks),
        None if late is None else in_force,
        Mode.OFF,
        running_loop,
        REFUSALS,
        refused,
        late,
        refused_late,
    )
    return quick


def refused_below(proxy: Any, error: BaseException) -> None:
    """Act on the `error` with which grpcio refused to start a unary RPC of a sync `proxy`."""
    if _tells(proxy):
        refused(proxy.__wrapped__, proxy._self_rpc, error)


def _subject(rpc: str | bytes) -> Subject:
    return Subject(name_of(rpc), CLIENT, SYNC)


def _tells(proxy: Any) -> bool:
    """Tell whether `proxy` reports, and not a patch or another proxy below it."""
    below = type(proxy.__wrapped__)
    if proxy._self_choose() is Mode.OFF or issubclass(below, Proxy):
        return False
    return current_mode() is Mode.OFF or patched.isdisjoint(below.__mro__)


@never_disturbs("the start of a unary RPC goes unnoticed")
def _look_back(multi_callable: Any, rpc: str | bytes) -> None:
    """Check the channel before a unary RPC starts in a forked child: it may never return."""
    starting_unary(life_of(multi_callable), name_of(rpc))


@never_disturbs("the refusal of a unary RPC goes unnoticed")
def refused(multi_callable: Any, rpc: str | bytes, error: BaseException) -> None:
    failed_to_start(life_of(multi_callable), name_of(rpc), error)
