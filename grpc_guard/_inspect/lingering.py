"""A process whose main thread has ended, and that lives on for a thread inside a stream."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from .._catalogue import cpython_ends
from .alarm import Alarm
from .native import native, start
from .switch import switch

_SECONDS = 5.0  # from the end of the main thread on


Before = Callable[[Callable[[], object]], object]


def watch(
    say: Callable[[str], object],
    seconds: float = _SECONDS,
    before: Before = cpython_ends.before_threads_are_joined,
) -> None:
    """Say what keeps this process so many seconds after its main thread has ended, once.

    ``before(function)`` has the function called when it has ended.
    """
    if cpython_ends.starts_threads_at_the_end:
        before(lambda: Alarm(seconds, lambda: tell(say)))
    else:
        switch.when_in_use(lambda: _wait_for_the_end(say, seconds, before))


def _wait_for_the_end(say: Callable[[str], object], seconds: float, before: Before) -> None:
    """Start the thread at once; it sleeps until the main thread has ended."""
    has_ended: Any = native("_thread", "allocate_lock")()
    has_ended.acquire()

    with contextlib.suppress(OSError):  # without a thread nothing is reported
        start(lambda: _tell_later(say, has_ended, seconds))
        before(has_ended.release)


def _tell_later(say: Callable[[str], object], has_ended: Any, seconds: float) -> None:
    has_ended.acquire()
    native("time", "sleep")(seconds)
    tell(say)


def tell(say: Callable[[str], object]) -> None:
    """Say it of each thread that the process waits for and that is inside a stream."""
    for text in kept_by():
        say(text)


def kept_by() -> Iterator[str]:
    """Yield a line for each thread that is inside a stream, and for which the process waits."""
    from .deductions import keepers
    from .living import Handled, loops_of, streams_listed
    from .sight import Sight

    sight = Sight(loops_of(streams_listed(Handled())))
    sight.forget_frames()
    for text, _ in keepers(sight):
        yield text
