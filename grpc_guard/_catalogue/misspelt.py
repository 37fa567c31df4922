"""Environment variables that look like settings of the guard but are not."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping

from . import words
from .settings import COLOR, INSPECT, MODE, PREFIX, PROBE, PURE, SPOOL
from .thresholds import NAMES, variable_of

# By what follows the prefix. Many users expect the mode under this name.
_SETTINGS = {
    name.removeprefix(PREFIX): name
    for name in (PROBE, INSPECT, PURE, COLOR, *(variable_of(name) for name in NAMES))
} | {"MODE": MODE}

_were_reported = False


def misspelt(variables: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each variable of ours that does not exist, without its value."""
    known = {*_SETTINGS.values(), SPOOL}
    for name in sorted(variables):
        if name.startswith(PREFIX) and name not in known:
            nearest = words.nearest(name.removeprefix(PREFIX), _SETTINGS)
            hint = (
                f"; did you mean {_SETTINGS[nearest]}?"
                if nearest is not None
                else f". The variables: {', '.join(sorted(_SETTINGS.values()))}"
            )
            yield f"the environment variable {name} is not a setting of grpc_guard{hint}"


def report_misspelt() -> None:
    """Log the environment variables that are misspelt, once, where the guard starts.

    A log record and no warning: a program that turns warnings into errors must not fail for it.
    The processes of ``grpc-guard run`` say nothing, since the launcher has.
    """
    global _were_reported
    if _were_reported or SPOOL in os.environ:
        return
    _were_reported = True
    for text in misspelt(os.environ):
        logging.getLogger("grpc_guard").warning("%s", text)
