"""Where settings come from: the one reader of their layers.

A setting may be made in several places, its layers. The first that says something wins, in the
order: argument of a call, command line, ini file, environment, default. A value keeps its source,
so that an error can name it.
"""

from __future__ import annotations

import os
from typing import Generic, NamedTuple, Protocol, TypeVar

PREFIX = "GRPC_GUARD_"

# The environment variables; beside these, each threshold has one (thresholds.variable_of()).
MODE = "GRPC_GUARD"
PROBE = "GRPC_GUARD_PROBE"
INSPECT = "GRPC_GUARD_INSPECT"
PURE = "GRPC_GUARD_PURE"
COLOR = "GRPC_GUARD_COLOR"
SPOOL = "GRPC_GUARD_SPOOL"  # set by the launcher only

V = TypeVar("V")  # what a layer holds: a text, or several
V_contra = TypeVar("V_contra", contravariant=True)
T = TypeVar("T")  # what is read from it
T_co = TypeVar("T_co", covariant=True)


class Layer(NamedTuple, Generic[V]):
    """One place where a setting can be made; `value` is None if it was not set there.

    `source` is what errors call the place.
    """

    source: str
    value: V | None


def environment(variable: str) -> Layer[str]:
    """Return the layer of an environment variable; an empty one says nothing."""
    return Layer(variable, os.environ.get(variable) or None)


class Setting(NamedTuple, Generic[T]):
    """A value, and the source of the layer that it came from: None for the default."""

    value: T
    source: str | None = None


class Parse(Protocol[V_contra, T_co]):
    """Reads the value of a layer; ValueError names the source, the value and the choices."""

    def __call__(self, value: V_contra, /, *, source: str) -> T_co: ...


def resolve(*layers: Layer[V], parse: Parse[V, T], default: T) -> Setting[T]:
    """Return the setting of the first layer that has a value; ValueError if the value is wrong.

    The layers below it are not read: a value without effect may be invalid.
    """
    for source, value in layers:
        if value is not None:
            return Setting(parse(value, source=source), source)
    return Setting(default)
