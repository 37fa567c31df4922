"""Threads that the program does not see, and that are real ones under gevent."""

from __future__ import annotations

import _thread
import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from .._core import which

_BEGINNING = 1.0  # seconds; a process that ends lets no thread begin
_SLICE = 256 if which.compiled() is None else 1024  # items, which take a millisecond or two
_NAP = 5e-5  # seconds; in none at all the others would not wake up in time

_SETTLING = 0.01  # seconds between two looks at how many objects are new
_PATIENCE = 10  # such looks

T = TypeVar("T")

assert _thread, time  # in sys.modules, for native()


def native(module: str, name: str) -> Callable[..., Any]:
    """Return what gevent, if it is there, may have replaced in a module."""
    monkey = sys.modules.get("gevent.monkey")
    original: Callable[..., Any] = (
        getattr(sys.modules[module], name) if monkey is None else monkey.get_original(module, name)
    )
    return original


def slices_of(items: Sequence[T], size: int = 0) -> Iterator[Sequence[T]]:
    """Yield `items`, so many at a time, and let other threads run in between.

    Python would let them wait for ``sys.getswitchinterval()``, 5 ms, each time that they have let
    go of the interpreter, as an event loop does in every turn.
    """
    sleep = native("time", "sleep")
    size = size or _SLICE
    for begin in range(0, len(items), size):
        if begin:
            sleep(_NAP)
        yield items[begin : begin + size]


def pause(items: Sequence[object]) -> None:
    """Let other threads run between two parts of a look, if there are as many `items` as a slice has."""
    if len(items) > _SLICE:
        native("time", "sleep")(_NAP)


def new_objects() -> int:
    """Return how many objects are new to the collector."""
    return gc.get_count()[0]


def settle(before: int, due: int) -> None:
    """Wait until what a look has left behind is gone, a tenth of a second at most.

    A frame that it has found is an object until its function returns. With hundreds of those, beside
    the program's own, the collector would run: for 10 ms or more where it seldom does, as it looks at
    all that has been made since. So either no more objects are new than were `before`, or less than
    half as many as are ``due`` for a run.
    """
    sleep, enough = native("time", "sleep"), max(before, due // 2)
    for _ in range(_PATIENCE if due and gc.isenabled() else 0):
        if new_objects() <= enough:
            break
        sleep(_SETTLING)


def start(function: Callable[..., object], *args: object) -> None:
    """Run `function` in a thread that nothing waits for, not in ``threading.enumerate()``.

    Returns when it runs: a thread that has not begun still bears the ident of its starter, and
    CPython 3.11 throws into it what another thread throws at that one. Raises OSError where there
    can be no thread more: the machine has no room for it, or the interpreter ends.
    """
    begun: Any = native("_thread", "allocate_lock")()
    begun.acquire()
    try:
        native("_thread", "start_new_thread")(_run, (begun, function, args))
    except RuntimeError as error:
        raise OSError(str(error)) from None
    begun.acquire(True, _BEGINNING)


def _run(begun: Any, function: Callable[..., object], args: tuple[object, ...]) -> None:
    begun.release()
    function(*args)
