"""The streams that live, their directions and loops: found by their channels and servers.

Nothing is kept for it while the program runs. The list of a channel is there for the rules of
channels, that of a server for its handlers; what stands in neither is noted when it is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from .._catalogue.grpcio import is_aio_server, loop_of
from .._catalogue.heap import instances
from .._catalogue.nouns import CLIENT, READ, SYNC
from .._core import which
from .._core.steps import Responses
from .._core.stream import Direction, Stream
from .._lifecycle import handled as tables_of
from .._lifecycle.channelless import channelless_streams
from .._lifecycle.channels import lives
from .._lifecycle.handled import HandledStreams
from .._lifecycle.handlers import Handlers, servers
from .._lifecycle.unlisted import unlisted_streams


class Handled:
    """The streams that servers handle, and since when: looked up once in a look."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Handlers, HandledStreams]] = {}

    def by(self, records: Handlers) -> HandledStreams:
        """Return ``records.streams()``, the same in the whole look."""
        known = self._known.get(id(records))
        if known is None:
            known = self._known[id(records)] = records, records.streams()
        return known[1]

    def begun(self) -> HandledStreams:
        """Return since when each stream of a server has been handled, by its identity."""
        tables, compiled = [self.by(records) for _, records in servers()], which.compiled()
        if compiled is not None:
            found: HandledStreams = compiled.begun(tables)
            return found
        return begun_in_python(tables)


def begun_in_python(tables: Iterable[Any]) -> HandledStreams:
    """Return the same of `tables` without the compiled core."""
    found = tables_of.Handled()
    for table in tables:
        for what, since in table.table.values():
            if isinstance(what, Stream):
                found.put(id(what), what, since)
    return found


def streams_listed(handled: Handled) -> list[Stream]:
    """Return the streams that stand in a list; some may be over, and some may be there twice."""
    listed = [*unlisted_streams(), *channelless_streams(is_sorted_out=False)]
    for life in lives():
        listed.extend(life.streams)  # in one step: no other thread runs meanwhile
    for _, records in servers():
        listed += handled.by(records).streams()
    return listed


def let_go(streams: list[Stream]) -> None:
    """Clear a list, which may have thousands of streams."""
    compiled = which.compiled()
    if compiled is None:
        streams.clear()
    else:
        compiled.let_go(streams)


def loops_of(streams: list[Stream]) -> set[asyncio.AbstractEventLoop]:
    """Return the loops that `streams`, and the servers of this process, belong to."""
    compiled = which.compiled()
    found: set[asyncio.AbstractEventLoop | None]
    found = {stream.loop for stream in streams} if compiled is None else compiled.loops_of(streams)
    found.update(loop_of(server) for server, _ in servers() if is_aio_server(server))
    return {loop for loop in found if loop is not None}


def others_among(streams: list[Stream], seen: Iterable[Direction]) -> dict[int, list[Direction]]:
    """Return the directions that exist beside those which streams know, by the identity of the stream.

    Of `streams`, and of those in whose directions somebody was `seen`.
    """
    found: dict[int, list[Direction]] = {}
    for one in seen:
        stream = one.stream
        if stream.read is not one and stream.write is not one:
            found.setdefault(id(stream), []).append(one)
    compiled = which.compiled()
    unread: Iterable[Stream]  # a sync call keeps its own direction to itself
    if compiled is None:
        unread = (x for x in streams if x.api == SYNC and x.side == CLIENT and x.read is None)
    else:
        unread = compiled.unread(streams, SYNC, CLIENT)
    hidden = {id(one) for one in unread if not one.is_over()}
    hidden.difference_update(
        key for key, known in found.items() if any(one.way is READ for one in known)
    )
    if hidden:  # one walk for all of them
        for one in instances({Responses}):
            if is_whole(one) and id(one.stream) in hidden:
                found.setdefault(id(one.stream), []).append(one)
    return found


def is_whole(direction: Direction) -> bool:
    """Tell whether `direction` has been made to its end: another thread may be about to."""
    try:
        return direction.since > 0.0 or direction.is_free or direction.since >= 0.0
    except AttributeError:
        return False
