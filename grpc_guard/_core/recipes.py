"""What the constructors of proxies do, where the compiled core follows it without running them.

A constructor is the reference: a test compares what it makes with what C makes by the recipe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .._catalogue.nouns import Way
from .aio_methods import compiled

T = TypeVar("T", bound=type)

Part = tuple[str, int, int, str, str]

# Where the value of a slot comes from: as in c/recipes.h.
_ARGUMENT, _STEP, _DIRECTION, _DIRECTION_IF_THERE = range(4)
_NONE = 4  # an argument that is never given


def argument(slot: str, index: int) -> Part:
    """Fill `slot` with an argument, None if it is not given; 0 is what is wrapped, 1 its stream."""
    return slot, _ARGUMENT, index, "", ""


def nothing(slot: str) -> Part:
    """Fill `slot` with None."""
    return slot, _ARGUMENT, _NONE, "", ""


def step(slot: str, method: str, index: int) -> Part:
    """Fill `slot` with what `method` of the direction, an argument, makes of what is wrapped.

    None if the direction does nothing beside the step.
    """
    return slot, _STEP, index, method, ""


def new_direction(slot: str, way: Way, *, if_there: bool = False) -> Part:
    """Fill `slot` with a new direction of the stream; its step is the method of what is wrapped.

    With `if_there`, that may lack the method.
    """
    return slot, _DIRECTION_IF_THERE if if_there else _DIRECTION, 0, way, way


def made_of(
    *parts: Part, arguments: int = 2, more: int = 0, has_ended: Callable[[Any], bool] | None = None
) -> Callable[[T], T]:
    """Have proxies of a class made of `parts`, from so many `arguments`, of which `more` are optional.

    With `has_ended` the stream follows what is wrapped: see Stream.track_call().
    """

    def noted(cls: T) -> T:
        wrapped: Any = getattr(cls, "__wrapped__", None)
        if compiled is not None and hasattr(wrapped, "__set__"):  # wrapt has its C code, too
            cls._self_recipe = compiled.Recipe(  # type: ignore[attr-defined]
                cls, arguments - more, arguments, has_ended, parts
            )
        return cls

    return noted
