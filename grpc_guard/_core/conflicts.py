"""What follows when a claim fails: a turn in the queue, or what the guard makes of it.

The core knows no rules. What a meeting in a direction, or a use after the end, means is
decided above: the guard enters its answers here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from .operations import operation as marked
from .stream import Direction, Stream
from .turns import take_turn, take_turn_async

T = TypeVar("T")


class Answers(Protocol):
    """What the guard does when it is told. Each may raise ConcurrencyError."""

    def report_conflict(self, direction: Direction, operation: str) -> None:
        """Act on an operation that met another in its direction."""

    def used_after_end(self, stream: Stream, operation: str) -> None:
        """Act on the use of a server stream object whose handler has ended."""


_answers: list[Answers] = []


def answer_with(answers: Answers) -> None:
    """Have `answers` asked from now on, instead of whoever was asked before."""
    _answers[:] = [answers]


def report_conflict(direction: Direction, operation: str) -> None:
    """Tell the guard of an operation that met another in its direction."""
    for answers in _answers:
        answers.report_conflict(direction, operation)


def used_after_end(stream: Stream, operation: str) -> None:
    """Tell the guard that a server stream object was used whose handler has ended."""
    for answers in _answers:
        answers.used_after_end(stream, operation)


@marked("contended", owns=False)
def contended(direction: Direction, operation: str, function: Callable[..., T], *args: Any) -> T:
    """Do a sync operation that found its direction taken, or raise ConcurrencyError."""
    if direction.turns is not None:
        return take_turn(direction, operation, report_conflict, function, *args)
    report_conflict(direction, operation)
    return function(*args)


@marked("contended", owns=False)
async def contended_async(
    direction: Direction, operation: str, function: Callable[..., Awaitable[T]], *args: Any
) -> T:
    """Do an aio operation that found its direction taken, or raise ConcurrencyError."""
    if direction.turns is not None:
        return await take_turn_async(direction, operation, report_conflict, function, *args)
    report_conflict(direction, operation)
    return await function(*args)
