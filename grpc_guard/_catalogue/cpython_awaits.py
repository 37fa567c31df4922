"""What coroutines and generators await, asked so that CPython survives it.

Up to CPython 3.12, one that runs at that moment may take what lies before its own memory for what
it awaits: whether it does depends on what is cached at the instruction where it is. It cannot run
on between the two questions here: no other thread gets the interpreter there.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from typing import Any

# By the prefix of the attributes: "cr" of coroutines, "gi" of generators, "ag" of asynchronous ones.
NAMES = {"cr": "cr_await", "gi": "gi_yieldfrom", "ag": "ag_await"}


# A class of the program's own may lack one name of the two.


def _by_coroutine(link: Any) -> Any:
    return None if getattr(link, "cr_running", False) else link.cr_await


def _by_generator(link: Any) -> Any:
    return None if getattr(link, "gi_running", False) else link.gi_yieldfrom


def _by_async_generator(link: Any) -> Any:
    # ag_running holds while what it awaits is suspended, too. Cython's have no frame.
    frame = getattr(link, "ag_frame", None)
    return None if frame is not None and frame.f_back is not None else link.ag_await


# What an object with these attributes awaits; None if nothing, or if it runs.
AWAITED: dict[str, Callable[[Any], Any]] = {
    "cr": _by_coroutine,
    "gi": _by_generator,
    "ag": _by_async_generator,
}
if sys.version_info >= (3, 13):
    AWAITED = {prefix: operator.attrgetter(name) for prefix, name in NAMES.items()}

awaited_by_coroutine = AWAITED["cr"]
