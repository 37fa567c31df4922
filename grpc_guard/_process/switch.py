"""The guard of the whole process: whether it is on, and in which mode.

Switching on applies patches to grpcio (patches.py). What they put in reads the mode once
per RPC, so that a patch which cannot be taken out again, because somebody has patched on
top of it, is inert while the guard is off.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

from .._catalogue import thresholds as limits
from .._catalogue.boundary import overlooked
from .._catalogue.cpython import is_being_imported
from .._catalogue.forks import start_clean
from .._catalogue.modes import Mode, in_force, parse_mode
from .._inspect import switch as inspection
from .._probe.settings import ProbeSettings, parse_probe
from .import_hook import after_import

F = TypeVar("F", bound=Callable[..., Any])


Probing = ProbeSettings | Literal[False] | None  # None: as it was


def _parse_probing(value: bool | str | None, source: str) -> Probing:
    return None if value is None else parse_probe(value, source=source) or False


def _parse_told(value: Mapping[str, float] | None, source: str) -> dict[str, float] | None:
    return None if value is None else limits.parse_thresholds(value, source=source)


class _Process:
    def __init__(self) -> None:
        self._mutex = threading.RLock()  # patching and the choice of the mode
        self._base = Mode.OFF  # what enable() and disable() say
        self._probe: ProbeSettings | None = None  # in force now
        self._base_probe: ProbeSettings | None = None  # what enable() says of the probe
        self._scopes: list[guarded] = []  # the guarded() blocks that run, innermost last
        self._waits_for_grpc = False

    def set_base(
        self,
        mode: Mode,
        probe: Probing = None,
        told: Mapping[str, float] | None = None,
        inspect: bool | None = None,
    ) -> None:
        with self._mutex:
            before = self._base, self._base_probe
            self._base = mode
            if probe is not None or mode is Mode.OFF:
                self._base_probe = probe or None
            try:
                self._apply_desired_mode()
            except BaseException:
                self._base, self._base_probe = before
                raise
            if told is not None or mode is Mode.OFF:
                limits.set_base(told or {})
            if inspect is not None or mode is Mode.OFF:
                inspection.switch.want(bool(inspect))

    def enter(self, scope: guarded) -> None:
        with self._mutex:
            self._scopes.append(scope)
            try:
                self._apply_desired_mode()
            except BaseException:
                self._scopes.remove(scope)
                raise
            scope.thresholds.__enter__()

    def leave(self, scope: guarded) -> None:
        with self._mutex:
            scope.thresholds.__exit__()
            self._scopes.remove(scope)
            self._apply_desired_mode()

    def _apply_desired_mode(self) -> None:
        mode = self._scopes[-1].mode if self._scopes else self._base
        probes = [scope.probe for scope in self._scopes if scope.probe is not None]
        probe = (probes[-1] or None) if probes else self._base_probe
        was_on, is_on = in_force.mode is not Mode.OFF, mode is not Mode.OFF
        if is_on and not was_on:
            self._apply()
        in_force.mode = mode
        self._probe = probe if is_on else None
        self._set_probe()
        if was_on and not is_on and "grpc_guard._process.patches" in sys.modules:
            from . import patches

            patches.remove()

    def _set_probe(self) -> None:
        """Tell the probe, once the guard is where streams start: that is not imported before."""
        needed = (
            "grpc_guard._probe.process" if self._probe is None else "grpc_guard._process.patches"
        )
        if needed in sys.modules:
            from .._probe.process import probe

            probe.use(self._probe)

    def _apply(self) -> None:
        """Patch grpc, or arrange for it to be patched when the program imports it.

        Importing it here could be too early: the program may first have to set
        environment variables that grpc reads, or to patch the standard library.
        """
        limits.thresholds()  # a bad one is an error here, and not where an RPC would find out
        grpc = sys.modules.get("grpc")
        if grpc is None:
            if not self._waits_for_grpc:
                self._waits_for_grpc = True
                after_import("grpc", self._on_import)
        elif self._waits_for_grpc and is_being_imported(grpc):
            pass  # by another thread, which will call the hook: it must not wait for us
        else:
            self._patch()

    def _patch(self) -> None:
        from . import patches

        patches.apply()

    def _on_import(self) -> None:
        with self._mutex:
            if in_force.mode is Mode.OFF:
                return
            try:
                self._patch()
                self._set_probe()
            except Exception as error:  # the program's import must not fail for it
                in_force.mode = Mode.OFF
                if not overlooked(error, "grpc could not be patched: the guard is off"):
                    raise

    def after_fork(self) -> None:
        self._mutex = threading.RLock()


process = _Process()
start_clean(process)


def enable(
    mode: str | Mode = "raise",
    *,
    probe: bool | str | None = None,
    thresholds: Mapping[str, float] | None = None,
    inspect: bool | None = None,
) -> None:
    """Guard every stream that this process starts or serves from now on.

    Sync and aio, clients and servers, on channels, stubs and servers that exist already
    too. Streams that are open already stay as they are. Calling it again only changes the
    mode. Safe to call from any thread; if it fails half-way, nothing is changed.

    With `probe`, operations are now and then held back for some 50 ms where two parties came
    near each other, so that a race happens that was only possible: for tests. Settings as in
    ``probe="delay=0.02,seed=7"``. None leaves it as it is.

    With `thresholds`, as in ``thresholds={"stream_limit": 50}``, warnings are given from other
    numbers on than the environment says: seconds where the name ends so, else a number of
    things. They hold, for what is wrapped by hand too, until others are named here or until
    :func:`disable`; None leaves them as they are. docs/lifecycle.md has the names.

    With `inspect`, other processes of the same user can ask this one what its streams are doing
    (``grpc-guard dump``), from its first channel or server on; None leaves it as it is, or as the
    environment variable GRPC_GUARD_INSPECT says.

    Raises ValueError for an unknown mode or setting, or a bad threshold (see
    docs/settings.md); ``off`` is the same as :func:`disable`.
    """
    if inspect is None and inspection.of_environment():
        inspect = True
    process.set_base(
        parse_mode(mode, source="enable(mode)"),
        _parse_probing(probe, "enable(probe)"),
        _parse_told(thresholds, "enable(thresholds)"),
        inspect,
    )


def disable() -> None:
    """Take back :func:`enable`: streams that start from now on are plain.

    Streams that are open stay guarded to their end. Patches that others applied to grpcio
    in the meantime stay in place. A :class:`guarded` block that runs keeps its mode.
    """
    process.set_base(Mode.OFF)


def is_enabled() -> bool:
    """Tell whether streams that start now are guarded."""
    return in_force.mode is not Mode.OFF


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
        mode: str | Mode = "raise",
        *,
        probe: bool | str | None = None,
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self.mode = parse_mode(mode, source="guarded(mode)")
        self.probe = _parse_probing(probe, "guarded(probe)")
        self.thresholds = limits.holding(_parse_told(thresholds, "guarded(thresholds)") or {})

    def __enter__(self) -> None:
        process.enter(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process.leave(self)

    def _again(self) -> guarded:
        scope = guarded(self.mode)
        scope.probe = self.probe
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
                        step = generator.__anext__()
                        while True:
                            try:
                                item = await step
                            except StopAsyncIteration:
                                return
                            try:
                                step = generator.asend((yield item))
                            except GeneratorExit:
                                raise
                            except BaseException as error:
                                step = generator.athrow(error)
        elif inspect.isgeneratorfunction(function):

            def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                with self._again():
                    return (yield from function(*args, **kwargs))
        else:

            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return function(*args, **kwargs)

        return cast("F", functools.wraps(function)(wrapper))
