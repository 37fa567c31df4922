"""Streams that stand in the list of no channel and no server: of calls wrapped by hand, and the like.

All others are found by their channel or server when somebody asks what lives.
"""

from __future__ import annotations

import functools
import weakref

from .._catalogue.forks import in_child
from .._core.stream import Stream

# By identity. What takes a stream out when it dies runs no Python code: an exception that arrives
# in a finaliser is lost.
_unlisted: dict[int, weakref.ref[Stream]] = {}


def note_unlisted(stream: Stream) -> Stream:
    """Note that `stream` stands in no other list, and return it; takes no lock."""
    key = id(stream)
    _unlisted[key] = weakref.ref(stream, functools.partial(_unlisted.pop, key))
    return stream


def unlisted_streams() -> list[Stream]:
    """Return those of this process that exist, whatever other threads do meanwhile."""
    found = (reference() for reference in list(_unlisted.values()))  # made in one step
    return [stream for stream in found if stream is not None]


in_child(_unlisted.clear)
