"""Streams that stand in the list of no channel and no server: of calls wrapped by hand, and the like.

All others are found by their channel or server when somebody asks what lives.
"""

from __future__ import annotations

import weakref

from .._catalogue.forks import in_child
from .._core.stream import Stream

_unlisted: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()


def note_unlisted(stream: Stream) -> Stream:
    """Note that `stream` stands in no other list, and return it; takes no lock."""
    _unlisted[id(stream)] = stream
    return stream


def unlisted_streams() -> list[Stream]:
    """Return those of this process that exist, whatever other threads do meanwhile."""
    found = (reference() for reference in _unlisted.valuerefs())  # a list, made in one step
    return [stream for stream in found if stream is not None]


in_child(_unlisted.clear)
