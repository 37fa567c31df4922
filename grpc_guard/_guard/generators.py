"""Which RPC a generator object feeds: the rule shared-iterator.

Only generators are checked. Other iterators may be meant to be shared (an object around a
queue), and reuse of a generator after its RPC ended is legal.
"""

from __future__ import annotations

import functools
import threading
import weakref
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from .._catalogue.forks import start_clean
from .._catalogue.rules.shared_iterator import (
    SenderInside,
    SharedGenerator,
    first_rpc_is_over,
)
from .._catalogue.words import escaped
from .._core import which
from .._core.stream import Stream
from . import owners
from .violations import violate


class _Feeding:
    """A generator and the stream that it feeds, or has fed, as the excuses see them."""

    def __init__(self, generator: Any, holder: Any) -> None:
        self.is_over = holder.is_over
        # Exactly one of the two attributes exists.
        self.is_inside = bool(
            getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False)
        )


# A generator and the stream that it feeds, both held weakly.
_Feed = tuple[weakref.ref[object], weakref.ref[Stream]]


class _Feeds:
    """Which stream a generator object feeds."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()  # reentrant: a finaliser may start an RPC
        self.known: dict[int, _Feed] = {}  # by the identity of the generator

    def bind_again(self, key: int, feed: _Feed, stream: Stream) -> Stream | None:
        """Note `feed` of a known generator; return the live stream it already feeds, if any."""
        with self._mutex:  # the check-and-set only
            holder = self.known.get(key, feed)[1]()
            is_other = holder is not None and holder is not stream
            if is_other and not first_rpc_is_over(_Feeding(feed[0](), holder)):
                return holder
            self.known[key] = feed
            return None

    def after_fork(self) -> None:
        self._mutex = threading.RLock()


_feeds = _Feeds()
start_clean(_feeds)


def bind(iterator: object, stream: Stream, operation: str) -> None:
    """Note that `iterator` feeds `stream`; raise ConcurrencyError if another live RPC has it."""
    if type(iterator) is not GeneratorType and type(iterator) is not AsyncGeneratorType:
        return
    key = id(iterator)
    # A finaliser takes no lock, and this one runs no Python code. No other thread can bind this
    # generator then, and a new object gets its identity only later.
    forget = functools.partial(_feeds.known.pop, key)
    feed: _Feed = weakref.ref(iterator, forget), weakref.ref(stream)
    if _feeds.known.setdefault(key, feed) is feed:  # atomic, and nearly always the first
        return
    holder = _feeds.bind_again(key, feed, stream)
    if holder is not None:
        name = getattr(iterator, "__qualname__", "generator")
        violate(
            (SenderInside if holder.is_over() else SharedGenerator)(name, escaped(holder.rpc)),
            stream,
            operation,
            owner=owners.owner_of(holder.write) if holder.write is not None else None,
            given=getattr(iterator, "gi_frame", None) or getattr(iterator, "ag_frame", None),
        )


_compiled = which.compiled()
if _compiled is not None:
    _compiled.tell(
        {
            "feeds": _feeds.known,
            "bind": bind,
        }
    )
