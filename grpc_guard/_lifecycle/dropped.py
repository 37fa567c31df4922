"""Calls of grpc.aio that were dropped and lived on until their channel was closed: unfinished-stream.

grpcio keeps such a call alive (since 1.83), and the handler of the server with it. A few from one
line may have been left for the channel to end; more than are kept on purpose are a leak.
"""

from __future__ import annotations

from collections.abc import Iterable

from .._catalogue.rules.unfinished_stream import NeverEnded
from .._catalogue.thresholds import thresholds
from .._core.stream import Stream
from .._findings.reporting import warn


def tell_dropped(streams: Iterable[Stream]) -> None:
    """Warn of those of `streams`, whose channel is being closed, that the program has dropped."""
    by_line: dict[object, list[Stream]] = {}
    for stream in streams:
        was_dropped = stream._read is not None and stream.read is None  # its reader has gone
        if was_dropped and stream.is_open() and stream.origin is not None:
            place = stream.origin.place
            line = None if place is None else (place[0].co_filename, stream.origin.line)
            by_line.setdefault((stream.subject, line), []).append(stream)
    for dropped in by_line.values():
        first = dropped[0].origin
        if first is not None and len(dropped) > thresholds().kept:
            starter = first.owner()
            seen = NeverEnded(starter, len(dropped) - 1, was_dropped=True)
            warn(seen, dropped[0].subject, caller=starter)
