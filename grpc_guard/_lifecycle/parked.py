"""Request iterators that gRPC is still inside although their RPC is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .._catalogue.clock import monotonic
from .._catalogue.cpython import timeout_of_wait, variables_of
from .._catalogue.rules.parked_request_iterator import Parked
from .._catalogue.thresholds import thresholds
from .._core.operations import IDENTITIES
from .._core.steps import ClientRequests
from .._core.stream import Direction, Stream
from .._findings.origins import Origin
from .._findings.parties import name_of_thread
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import fold, other_threads, outward
from .._guard.noted import Noted, noted_directions, standing_among
from .outliving import tell_parked

_STEP = 0.01  # seconds between two checks of a thread that has some time left
_POLLING = 5.0  # seconds: a wait as short as this ends soon, and its iterator may look around then


def look_for_parked(is_ours: Callable[[Origin], bool]) -> None:
    tell_parked()
    patience = thresholds().parked_iterator_seconds
    deadline = monotonic() + patience
    while (parked := list(_parked(is_ours))) and monotonic() < deadline:
        time.sleep(_STEP)
    for stream, thread in parked:
        assert stream.origin is not None
        starter = stream.origin.owner()
        warn(Parked(thread, starter), stream.subject, caller=starter, owner=thread)


def _parked(is_ours: Callable[[Origin], bool]) -> Iterator[tuple[Stream, Owner]]:
    """Yield the RPCs that are over while gRPC's thread is in their request iterator."""
    noted = noted_directions()
    for ident, frame in other_threads():
        chain = list(outward(frame))
        for direction, index in _request_iterators(ident, chain, noted):
            stream = direction.stream
            if (
                stream.origin is not None
                and is_ours(stream.origin)
                and stream.is_over()
                and not _polls(frame)
            ):
                held = max(0.0, monotonic() - direction.since)
                kind, name = name_of_thread(ident)
                stack = fold(chain[:index])
                yield stream, Owner(kind, name, "next(request_iterator)", held, stack)
            break


def _request_iterators(
    ident: int, chain: list[FrameType], noted: Noted
) -> Iterator[tuple[Direction, int]]:
    """Yield the directions in which thread `ident` advances an iterator, and how many frames do that."""
    for standing in standing_among(chain, noted, ident):
        if issubclass(type(standing.direction), ClientRequests):
            yield standing.direction, standing.at
    for index, frame in enumerate(chain):
        names = variables_of(frame) if id(frame.f_code) in IDENTITIES else {}
        direction: Any = names.get("direction")
        if issubclass(type(direction), ClientRequests):
            yield direction, index


def _polls(frame: FrameType) -> bool:
    timeout = timeout_of_wait(frame)
    return timeout is not None and timeout <= _POLLING
