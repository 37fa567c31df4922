"""The four modes of the guard, and the one parser that reads them."""

from __future__ import annotations

import enum
import functools
import itertools
from collections.abc import Callable
from types import MethodWrapperType
from typing import Literal

from . import words
from .lazy import public

ModeName = Literal["off", "raise", "warn", "serialize"]


@public
class Mode(enum.StrEnum):
    """What happens to the caller that breaks a rule of error severity.

    ``raise`` refuses it with :class:`ConcurrencyError`, ``warn`` logs and lets it
    through, ``serialize`` makes it wait for its turn, ``off`` wraps nothing at all.
    """

    OFF = "off"
    RAISE = "raise"
    WARN = "warn"
    SERIALIZE = "serialize"


# The mode for the next RPC: fixed for an object that the program has wrapped; for the
# process-wide guard, the mode of the process at that time.
ChooseMode = Callable[[], Mode]


@functools.cache  # the core knows by this object that the mode is fixed, however many channels there are
def always(mode: Mode) -> ChooseMode:
    return itertools.repeat(mode).__next__  # in C: every RPC asks


def fixed_mode(choose: ChooseMode) -> Mode | None:
    """Return the mode that `choose` has for every RPC; None if it may change."""
    if type(choose) is MethodWrapperType and type(choose.__self__) is itertools.repeat:
        mode: Mode = choose()
        return mode
    return None


def parse_mode(value: str, *, source: str) -> Mode:
    """Return the mode that `value` names; `source` says where the value came from.

    Raises ValueError that names the source, the value and the choices.
    """
    try:
        return Mode(value)
    except ValueError:
        raise ValueError(
            f"{source}: {value!r} is not a mode; use off, raise, warn or serialize"
            f"{words.did_you_mean(value, Mode)}"
        ) from None


class InForce:
    """The mode of the process-wide guard: a record that the switch writes and all others read."""

    __slots__ = ("mode",)

    def __init__(self) -> None:
        self.mode = Mode.OFF


in_force = InForce()


def current_mode() -> Mode:
    """Return the mode of the process-wide guard, ``off`` if it is off."""
    return in_force.mode
