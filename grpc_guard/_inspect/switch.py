"""Whether this process can be asked, and the moment from which it is: its first channel or server.

Before that there is nothing to tell, and a thread more would change what fork does: Python 3.12
warns of a fork in a process that has threads. From its first channel or server on, gRPC
itself has some. Nothing is imported here before it is needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from .._catalogue.settings import INSPECT, environment, resolve

_VALUES = {"0": False, "1": True}


class Switch:
    """Whether somebody wants this process to answer, and whether there is something to tell."""

    def __init__(self) -> None:
        self.wanted = False
        self.is_in_use = False  # a channel or a server has been made
        self._is_decided = False  # by enable(), or by who runs the program
        self._waiting: list[Callable[[], object]] = []

    def want(self, wanted: bool) -> None:
        """Answer from now on, or from the first channel or server on; or answer no more."""
        if self.wanted and not wanted:
            from .endpoint import endpoint

            endpoint.close()
        self.wanted = wanted
        self._is_decided = True
        if self.is_in_use:
            self.use()

    def use_wrapped(self) -> None:
        """Note that wrap() guards something now; unless it is decided, answer as the environment says.

        Raises ValueError if the environment says neither yes nor no.
        """
        if not self._is_decided:
            self.want(of_environment())
        self.use()

    def use(self) -> None:
        """Note that there is a channel or a server now."""
        self.is_in_use = True
        if self.wanted:
            from .endpoint import endpoint

            endpoint.open()
        while self._waiting:
            self._waiting.pop()()

    def when_in_use(self, function: Callable[[], object]) -> None:
        """Call `function` when there is a channel or a server, at once if there is one."""
        if self.is_in_use:
            function()
        else:
            self._waiting.append(function)

    def forget(self, function: Callable[[], object]) -> None:
        """Do not call `function`, if it has not been called yet."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(function)


switch = Switch()


def parse_inspect(value: str, *, source: str) -> bool:
    """Return what `value` says; ValueError that names its source and the choices."""
    try:
        return _VALUES[value]
    except KeyError:
        raise ValueError(f"{source}: {value!r} is neither on nor off; use 1 or 0") from None


def of_environment(*, default: bool = False) -> bool:
    """Return whether the environment wants this process to answer; ValueError for a bad value."""
    return resolve(environment(INSPECT), parse=parse_inspect, default=default).value
