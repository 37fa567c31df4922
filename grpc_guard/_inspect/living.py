"""The streams that live, and their directions: found by their channels and servers.

Nothing is kept for it while the program runs. The list of a channel is there for the rules of
channels, that of a server for its handlers; what stands in neither is noted when it is made.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping

from .._catalogue.heap import instances
from .._catalogue.nouns import CLIENT, READ, SYNC
from .._core.steps import Responses
from .._core.stream import Direction, Stream
from .._lifecycle.channelless import channelless_streams
from .._lifecycle.channels import lives
from .._lifecycle.handlers import servers
from .._lifecycle.unlisted import unlisted_streams


def streams_listed() -> list[Stream]:
    """Return the streams that stand in a list; some may be over."""
    listed = [unlisted_streams(), channelless_streams()]
    listed += [list(life.streams.copy()) for life in lives()]
    for _, handlers in servers():
        listed.append([stream for stream, _ in handlers.streams().values()])
    return list({id(stream): stream for streams in listed for stream in streams}.values())


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
        found[id(stream)] = mine = []
        read, write = stream.read, stream.write
        if read is not None and (others.pop(id(read), None) is not None or _is_whole(read)):
            mine.append(read)
        if write is not None and (others.pop(id(write), None) is not None or _is_whole(write)):
            mine.append(write)
        if read is None and stream.side == CLIENT and stream.api == SYNC and not stream.is_over():
            hidden.add(id(stream))
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
