"""The thresholds at which warnings are reported: one frozen object, and its precedence.

The innermost block of the running program wins, then what the program set for the process, then
the environment. A command line or a file sets thresholds in the same way as a block.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

from . import leak, long_wait, words
from .rules import (
    abandoned_handler,
    blocked_grpc_thread,
    blocked_loop,
    channel_churn,
    parked_request_iterator,
    starved_server,
    stream_limit,
)
from .scopes import Block, Scopes
from .settings import PREFIX, Layer


@dataclasses.dataclass(frozen=True)
class Thresholds(  # the fields of the last come first
    leak.Limits,
    long_wait.Limits,
    stream_limit.Limits,
    channel_churn.Limits,
    parked_request_iterator.Limits,
    starved_server.Limits,
    blocked_loop.Limits,
    abandoned_handler.Limits,
    blocked_grpc_thread.Limits,
):
    """The thresholds of all rules; a variable is GRPC_GUARD_ and the name in capitals.

    Each stands, with its default, in the file of its rule. Seconds are seconds, and everything
    else is a number of things.
    """

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Thresholds:
        """Read the settings; ValueError names the variable, the value and what it takes."""
        return dataclasses.replace(cls(), **_in_environment(environment))


NAMES = tuple(field.name for field in dataclasses.fields(Thresholds))


def variable_of(name: str) -> str:
    """Return the environment variable of the threshold `name`."""
    return f"{PREFIX}{name.upper()}"


def _in_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    variables = {name: variable_of(name) for name in NAMES}
    return {
        name: _number(name, environment[variable], f"{variable}: ")
        for name, variable in variables.items()
        if environment.get(variable)
    }


def to_environment(told: Mapping[str, float]) -> dict[str, str]:
    """Return the environment variables that set the thresholds in `told`."""
    return {variable_of(name): str(value) for name, value in told.items()}


def parse_thresholds(settings: object, *, source: str) -> dict[str, float]:
    """Return the thresholds in a mapping of names to numbers.

    Raises ValueError that names the source, the value and the choices.
    """
    if not isinstance(settings, Mapping):
        raise ValueError(f"{source}: {settings!r} is not a mapping of thresholds to numbers")
    return {name: _checked(name, value, source) for name, value in settings.items()}


def resolve_thresholds(*layers: Layer[Iterable[str]]) -> dict[str, float]:
    """Return the thresholds that `layers` set: the first layer that has a name wins.

    Those of the environment, which come last, are checked as well. ValueError as below.
    """
    thresholds()
    told: dict[str, float] = {}
    for source, settings in reversed(layers):
        told |= _parse_settings(settings or (), source=source)
    return told


def _parse_settings(settings: Iterable[str], *, source: str) -> dict[str, float]:
    """Return the thresholds in settings such as ``stream_limit=50``; the last one of a name counts.

    Raises ValueError that names the source, the value and the choices.
    """
    told = {}
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not equals:
            raise ValueError(
                f"{source}: {setting!r} is not NAME=NUMBER; the thresholds: {', '.join(NAMES)}"
            )
        told[name] = _checked(name, value, source)
    return told


def _checked(name: object, value: object, source: str) -> float:
    if name not in NAMES:
        raise ValueError(f"{source}: {words.unknown(name, 'threshold', NAMES)}")
    return _number(str(name), value, f"{source}: {name}=")


def _number(name: str, value: object, told: str) -> float:
    """Return the number in `value`, a text or a number; an error begins with `told`."""
    text = str(value)
    if not name.endswith("_seconds"):
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{told}{value!r} is not a number; use a whole number, 0 or more")
        return int(text)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{told}{value!r} is not a time; use seconds, 0 or more")
    return seconds


_current: Thresholds | None = None  # from the environment, read when they were first needed
_scopes: Scopes[Mapping[str, float]] = Scopes({})  # the base is what enable() set


class holding:  # noqa: N801  # reads like a keyword: with holding({"kept": 20}): …
    """Apply `told` while a block runs, on top of the thresholds in force without it."""

    def __init__(self, told: Mapping[str, float]) -> None:
        self.told = told
        self._entered: list[Block[Mapping[str, float]]] = []

    def __enter__(self) -> None:
        self._entered.append(_scopes.enter(self.told))

    def __exit__(self, *exc_info: object) -> None:
        _scopes.leave(self._entered.pop())


def set_base(told: Mapping[str, float]) -> None:
    """Apply `told` from now on, below all blocks, in place of what was set here before."""
    _scopes.base = told


def thresholds() -> Thresholds:
    """Return the thresholds in force; ValueError for a bad one in the environment, which is read once."""
    global _current
    if _current is None:
        _current = Thresholds.of(os.environ)
    # Built anew for each call: that needs no lock, and calls are rare.
    told: dict[str, Any] = {}
    for said in reversed(tuple(_scopes)):
        told.update(said)
    return dataclasses.replace(_current, **told) if told else _current
