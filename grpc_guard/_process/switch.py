"""Switching the guard of the whole process: by a call, for a block, for a function."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, TypeVar, cast

from .._catalogue import thresholds as limits
from .._catalogue.lazy import public
from .._catalogue.modes import Mode, ModeName, in_force, parse_mode
from .._catalogue.scopes import Block
from .._core.relay import Relay
from .._inspect import switch as inspection
from .._probe.settings import parse_probe
from .phases import Probing, Wanted, process

F = TypeVar("F", bound=Callable[..., Any])


def _parse_probing(value: bool | str | None, source: str) -> Probing:
    return None if value is None else parse_probe(value, source=source) or False


def _parse_told(value: Mapping[str, float] | None, source: str) -> dict[str, float] | None:
    return None if value is None else limits.parse_thresholds(value, source=source)


@public
def enable(
    mode: ModeName | Mode = "raise",
    *,
    probe: bool | str | None = None,
    thresholds: Mapping[str, float] | None = None,
    inspect: bool | None = None,
) -> None:
    """Guard every stream that this process starts or serves from now on.

    Sync and aio, clients and servers, including channels, stubs and servers that exist
    already. Streams that are open already are not guarded. Calling it again only changes the
    mode. Safe to call from any thread; if it fails, nothing is changed.

    `probe` is for tests: where two parties came near each other, it sometimes holds an operation
    back for some 50 ms, so that a race that was only possible happens. Settings as in
    ``probe="delay=0.02,seed=7"``. None leaves it unchanged.

    `thresholds`, as in ``thresholds={"stream_limit": 50}``, sets the thresholds at which warnings
    are reported: seconds if the name ends in ``_seconds``, else a number of things. They apply,
    to wrapped objects too, until the next call or :func:`disable`; None leaves them unchanged.
    The error for an unknown name lists all names.

    With `inspect`, other processes of the same user can ask this one what its streams are doing
    (``grpc-guard dump``), as soon as it has a channel or server. None leaves it unchanged, or as
    the environment variable GRPC_GUARD_INSPECT says.

    Raises ValueError for an unknown mode or setting, or an invalid threshold. ``off`` is the
    same as :func:`disable`.
    """
    if inspect is None and inspection.of_environment():
        inspect = True
    process.set_base(
        parse_mode(mode, source="enable(mode)"),
        _parse_probing(probe, "enable(probe)"),
        _parse_told(thresholds, "enable(thresholds)"),
        inspect,
    )


@public
def disable() -> None:
    """Take back :func:`enable`: streams that start from now on are plain.

    Streams that are open stay guarded to their end. Patches that others applied to grpcio
    in the meantime stay in place. A :class:`guarded` block that runs keeps its mode.
    """
    process.set_base(Mode.OFF)


@public
def is_enabled() -> bool:
    """Tell whether streams that start now are guarded."""
    return in_force.mode is not Mode.OFF


@public
class guarded:  # noqa: N801  # reads like a keyword: with guarded(): …
    """Guard the process while a block or a function runs, then restore what was before.

    ::

        with guarded("warn"):
            ...

        @guarded()
        async def main(): ...

    Process-wide, as :func:`enable`. Blocks nest; of several that run, the one entered last
    decides, and of the `thresholds` those that it names. Decorates functions, coroutine
    functions and generators of both kinds.

    Raises ValueError for an unknown mode or setting of the `probe`, or a bad threshold.
    """

    def __init__(
        self,
        mode: ModeName | Mode = "raise",
        *,
        probe: bool | str | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self.wanted = Wanted(
            parse_mode(mode, source="guarded(mode)"), _parse_probing(probe, "guarded(probe)")
        )
        self.thresholds = limits.holding(_parse_told(thresholds, "guarded(thresholds)") or {})
        self._entered: list[Block[Wanted]] = []

    def __enter__(self) -> None:
        self._entered.append(process.enter(self.wanted, self.thresholds))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process.leave(self._entered.pop(), self.thresholds)

    def _again(self) -> guarded:
        scope = guarded()
        scope.wanted = self.wanted
        scope.thresholds = limits.holding(self.thresholds.told)
        return scope

    def __call__(self, function: F) -> F:
        """Return `function` guarded while it runs."""
        wrapper: Any
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)
        elif inspect.isasyncgenfunction(function):

            async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
                with self._again():
                    async with contextlib.aclosing(function(*args, **kwargs)) as generator:
                        relay = Relay(generator)
                        async for item in relay:
                            with relay:
                                relay.sent = yield item
        elif inspect.isgeneratorfunction(function):

            def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                with self._again():
                    return (yield from function(*args, **kwargs))
        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return function(*args, **kwargs)

        return cast("F", functools.wraps(function)(wrapper))
