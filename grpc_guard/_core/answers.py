"""What the core asks the guard: what a meeting means, or a use after the end.

The core knows no rules. The guard, above it, enters its answers here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .extras import Ticket
from .stream import Direction, Stream


class Answers(Protocol):
    """What the guard does when it is told. Each may raise ConcurrencyError."""

    def report_conflict(self, direction: Direction, operation: str) -> None:
        """Act on an operation that met another in its direction."""

    def report_wait(self, direction: Direction, ticket: Ticket) -> None:
        """Act on an operation that has to wait for its turn, with `ticket`, already in the queue."""

    def is_shareable(self, direction: Direction, operation: str, step: Callable[..., Any]) -> bool:
        """Tell whether `step`, of an operation that met another, may be done by both at once."""

    def may_pass(self, direction: Direction) -> bool:
        """Tell whether an operation may go on beside the yield that has `direction`."""

    def used_after_end(self, stream: Stream, operation: str) -> None:
        """Act on the use of a server stream object whose handler has ended."""


_answers: list[Answers] = []


def answer_with(answers: Answers) -> None:
    """Have `answers` asked from now on, instead of what was asked before."""
    _answers[:] = [answers]


def report_conflict(direction: Direction, operation: str) -> None:
    """Tell the guard of an operation that met another in its direction."""
    for answers in _answers:
        answers.report_conflict(direction, operation)


def report_wait(direction: Direction, ticket: Ticket) -> None:
    """Tell the guard of an operation that has to wait for its turn."""
    for answers in _answers:
        answers.report_wait(direction, ticket)


def is_shareable(direction: Direction, operation: str, step: Callable[..., Any]) -> bool:
    """Ask the guard whether `step`, of an operation that met another, may be done by both at once."""
    return any(answers.is_shareable(direction, operation, step) for answers in _answers)


def may_pass(direction: Direction) -> bool:
    """Ask the guard whether an operation may go on beside the yield that has `direction`."""
    return any(answers.may_pass(direction) for answers in _answers)


def used_after_end(stream: Stream, operation: str) -> None:
    """Tell the guard that a server stream object was used whose handler has ended."""
    for answers in _answers:
        answers.used_after_end(stream, operation)
