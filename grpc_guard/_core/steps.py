"""The directions of sync iterators, and what advances them: in C, or as in advances.py."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, Self

from .._catalogue.forks import in_child
from .._catalogue.nouns import Way
from . import advances, which
from .advances import Step as Step
from .records import SyncFields
from .stream import Direction

_compiled = which.compiled()
if _compiled is not None:
    _compiled.configure_steps(vars(advances))
    in_child(_compiled.after_fork)
_chosen: Any = _compiled or advances


def _advancing(name: str) -> Any:
    """Return what a class of directions has as ``advance``; in Python, simply its method."""
    return vars(advances)[name].__self__ if _compiled is None else property(vars(_compiled)[name])


class SyncDirection(Direction, SyncFields):
    """A direction of a sync iterator, claimed by the function that advances it."""

    __slots__ = ()

    loop_thread = None
    _ending: Callable[[Step, Any], Step] | None = None

    advance: Step

    def __iter__(self) -> IteratorFromFunction:
        return IteratorFromFunction(self.advance)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # its method is a function to who copies that

    def _equip(self) -> None:
        step = self._instrument(step_of(self.iterator))
        if self.turns is not None:
            del self.free  # never claimable: each operation takes its turn
            if self._ending is not None:  # and no claim of advances.py notes the end
                step = self._ending(step, self.stream)
        self.iterator = IteratorFromFunction(step)

    def _has_token(self) -> bool:
        return hasattr(self, "free")


class IteratorFromFunction:
    """Stands for an iterator where a direction, or a warning, does something around its next()."""

    __slots__ = ("__next__",)

    def __init__(self, step: Step) -> None:
        self.__next__ = step


def step_of(iterator: Any) -> Step:
    """Return a method that advances `iterator` as ``next()`` does: by the type that it has then."""
    if type(iterator) is IteratorFromFunction:  # its own may take a message
        return iterator.__next__
    return MethodType(next, iterator)


class Responses(SyncDirection):
    """A client that reads its responses."""

    __slots__ = ()

    way = Way.READ
    advance = _advancing("reading_responses")


class Requests(SyncDirection):
    """A handler that reads its requests, which end with it."""

    __slots__ = ()

    way = Way.READ
    advance = _advancing("reading_requests")


class ClientRequests(SyncDirection):
    """gRPC's own thread, which advances a client's request iterator."""

    __slots__ = ()

    way = Way.WRITE
    is_shared = False
    asks_program = True
    advance = _advancing("taking_requests")


class HandlerResponses(SyncDirection):
    """gRPC, which advances a handler's response iterator; the handler ends when that does."""

    __slots__ = ()

    _ending = staticmethod(advances.ending)

    way = Way.WRITE
    is_shared = False
    advance = _advancing("taking_responses")


class SentResponses(SyncDirection):
    """A non-blocking handler, which sends its responses; None ends it."""

    __slots__ = ()

    _ending = staticmethod(advances.ending_with_none)

    way = Way.WRITE
    advance = _advancing("sending_responses")


if TYPE_CHECKING:
    from .advances import direction_of as direction_of
    from .advances import reading_responses_or_metadata as reading_responses_or_metadata
else:
    direction_of = _chosen.direction_of
    reading_responses_or_metadata = _chosen.reading_responses_or_metadata
