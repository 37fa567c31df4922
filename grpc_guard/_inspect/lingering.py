"""A process whose main thread has ended, and that lives on for a thread inside a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .._catalogue.cpython import before_threads_are_joined
from . import wording
from .alarm import Alarm

_SECONDS = 5.0  # from the end of the main thread on


def watch(say: Callable[[str], object], seconds: float = _SECONDS) -> None:
    """Say what keeps this process so many seconds after its main thread has ended, once."""
    before_threads_are_joined(lambda: Alarm(seconds, lambda: tell(say)))


def tell(say: Callable[[str], object]) -> None:
    """Say it of each thread that the process waits for and that is inside a stream."""
    for text in kept_by():
        say(text)


def kept_by() -> Iterator[str]:
    """Yield a line for each thread that is no daemon and inside a stream."""
    from .living import streams_listed
    from .sight import Sight, loops_of

    sight = Sight(loops_of(streams_listed()))
    sight.forget_frames()
    for owner, direction in sight.keepers():
        yield wording.keeps_process(owner, direction.stream.rpc)
