"""What follows when a claim fails: a turn in the queue, or what the guard makes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .answers import is_shareable, report_conflict
from .operations import CONTENDED
from .operations import operation as marked
from .stream import Direction
from .turns import take_turn, take_turn_async

T = TypeVar("T")


@marked(CONTENDED, owns=False)
def contended(direction: Direction, operation: str, function: Callable[..., T], *args: Any) -> T:
    """Do a sync operation that found its direction taken, or raise ConcurrencyError."""
    if direction.turns is not None:
        return take_turn(direction, operation, function, *args)
    if not is_shareable(direction, operation, function):
        report_conflict(direction, operation)
    return function(*args)


@marked(CONTENDED, owns=False)
async def contended_async(
    direction: Direction, operation: str, function: Callable[..., Awaitable[T]], *args: Any
) -> T:
    """Do an aio operation that found its direction taken, or raise ConcurrencyError."""
    if direction.turns is not None:
        return await take_turn_async(direction, operation, function, *args)
    if not is_shareable(direction, operation, function):
        report_conflict(direction, operation)
    return await function(*args)
