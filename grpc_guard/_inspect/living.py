"""The streams that live, their directions and loops: found by their channels and servers.

Nothing is kept for it while the program runs. The list of a channel is there for the rules of
channels, that of a server for its handlers; what stands in neither is noted when it is made.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterable, Mapping

from .._catalogue.grpcio import is_aio_server, loop_of
from .._catalogue.heap import instances
from .._catalogue.nouns import CLIENT, READ, SYNC
from .._core.steps import Responses
from .._core.stream import Direction, Stream
from .._lifecycle.channelless import channelless_streams
from .._lifecycle.channels import lives
from .._lifecycle.handlers import Handlers, servers
from .._lifecycle.unlisted import unlisted_streams


class Handled:
    """The streams that servers handle, and since when: looked up once in a look."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Handlers, dict[int, tuple[Stream, float]]]] = {}

    def by(self, handlers: Handlers) -> dict[int, tuple[Stream, float]]:
        """Return ``handlers.streams()``, the same in the whole look."""
        known = self._known.get(id(handlers))
        if known is None:
            known = self._known[id(handlers)] = handlers, handlers.streams()
        return known[1]

    def begun(self) -> dict[int, float]:
        """Return since when each stream of a server has been handled, by its identity."""
        return {
            id(stream): since
            for _, handlers in servers()
            for stream, since in self.by(handlers).values()
        }


def streams_listed(handled: Handled) -> list[Stream]:
    """Return the streams that stand in a list; some may be over."""
    listed = [unlisted_streams(), channelless_streams()]
    listed += [list(life.streams.copy()) for life in lives()]
    for _, handlers in servers():
        listed.append([stream for stream, _ in handled.by(handlers).values()])
    found: dict[int, Stream] = {}
    for streams in listed:
        found.update(zip(map(id, streams), streams, strict=True))
    return list(found.values())


def loops_of(streams: Iterable[Stream]) -> set[asyncio.AbstractEventLoop]:
    """Return the loops that `streams`, and the servers of this process, belong to."""
    found = {stream.loop for stream in streams}
    found.update(loop_of(server) for server, _ in servers() if is_aio_server(server))
    return {loop for loop in found if loop is not None}


def directions_of(
    streams: Iterable[Stream], seen: Mapping[int, Direction] = types.MappingProxyType({})
) -> dict[int, list[Direction]]:
    """Return the directions of `streams` that exist, by the identity of the stream.

    Those that were `seen`, of the same streams, are among them; they are by their identity.
    """
    found: dict[int, list[Direction]] = {}
    others = dict(seen)
    hidden = set()  # a sync call keeps its own to itself
    for stream in streams:
        mine = found[id(stream)] = []
        read, write = stream.read, stream.write
        if read is not None:
            if others.pop(id(read), None) is not None or _is_whole(read):
                mine.append(read)
        elif stream.side == CLIENT and stream.api == SYNC and not stream.is_over():
            hidden.add(id(stream))
        if write is not None and (others.pop(id(write), None) is not None or _is_whole(write)):
            mine.append(write)
    for one in others.values():
        found[id(one.stream)].append(one)
        if one.way is READ:
            hidden.discard(id(one.stream))
    if hidden:  # one walk for all of them
        for one in instances({Responses}):
            if _is_whole(one) and id(one.stream) in found:
                mine = found[id(one.stream)]
                if not any(one is known for known in mine):
                    mine.append(one)
    return found


def _is_whole(direction: Direction) -> bool:
    """Tell whether `direction` has been made to its end: another thread may be about to."""
    try:
        return direction.since > 0.0 or direction.is_free or direction.since >= 0.0
    except AttributeError:
        return False
