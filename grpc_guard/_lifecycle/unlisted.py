"""Streams that no channel and no server lists: those of calls wrapped by hand, for example.

All others are found by their channel or server when the live streams are asked for.
"""

from __future__ import annotations

import functools
import weakref

from .._catalogue.forks import in_child
from .._core.stream import Stream

# By identity. Removing a stream when it dies runs no Python code: an exception that arrived in
# a finaliser would be lost.
_unlisted: dict[int, weakref.ref[Stream]] = {}


def note_unlisted(stream: Stream) -> Stream:
    """Note that no other list has `stream`, and return it; takes no lock."""
    key = id(stream)
    _unlisted[key] = weakref.ref(stream, functools.partial(_unlisted.pop, key))
    return stream


def unlisted_streams() -> list[Stream]:
    """Return those of this process that exist; other threads may change the table meanwhile."""
    found = (reference() for reference in list(_unlisted.values()))  # made in one step
    return [stream for stream in found if stream is not None]


in_child(_unlisted.clear)
