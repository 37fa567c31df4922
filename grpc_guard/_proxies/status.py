"""status(): which parties are inside a guarded stream now."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import grpc  # noqa: F401  # before the modules below: enable() may wait for it, and needs them whole

from .._catalogue.lazy import public
from .._core.stream import Direction
from .._findings.records import Owner
from .._guard import owners
from .proxy import StreamProxy, isinstance_exactly


@public
@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """The parties inside a stream: its current reader and writer, or None.

    ``waiting`` has the parties that wait for their turn in either direction, in mode ``serialize``.
    """

    read: Owner | None
    write: Owner | None
    waiting: tuple[Owner, ...] = ()


@public
def status(call: object) -> Status:
    """Return which parties read, write and wait on `call` at this moment, without changing it.

    `call` is a guarded call, context or message iterator. It may be called from any thread. Raises
    TypeError for an object that is not guarded.
    """
    if not isinstance_exactly(call, StreamProxy):
        raise TypeError(f"status() takes a guarded call or context, not {type(call).__name__}")
    assert isinstance(call, StreamProxy)
    stream = call._self_stream
    read, write = getattr(call, "_self_read", None) or stream.read, stream.write
    waiting = [*_waiting(read), *_waiting(write)]
    return Status(_owner(read), _owner(write), tuple(waiting))


def _owner(direction: Direction | None) -> Owner | None:
    return None if direction is None else owners.owner_of(direction)


def _waiting(direction: Direction | None) -> Iterable[Owner]:
    return () if direction is None else owners.waiting_for(direction)
