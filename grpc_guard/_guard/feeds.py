"""Which generator objects feed which streams."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from .._catalogue.forks import start_clean
from .._catalogue.rules.shared_iterator import first_rpc_is_over
from .._core.stream import Stream

# A generator and the stream that it feeds, both held weakly.
Feed = tuple[weakref.ref[object], weakref.ref[Stream]]


class _Feeding:
    """A generator and the stream that it feeds, or has fed, as the excuses see them."""

    def __init__(self, generator: Any, holder: Any) -> None:
        self.is_over = holder.is_over
        # Exactly one of the two attributes exists.
        self.is_inside = bool(
            getattr(generator, "gi_running", False) or getattr(generator, "ag_running", False)
        )


class _Feeds:
    """Which stream a generator object feeds."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()  # reentrant: a finaliser may start an RPC
        self.known: dict[int, Feed] = {}  # by the identity of the generator

    def bind_again(self, key: int, feed: Feed, stream: Stream) -> Stream | None:
        """Note `feed` of a known generator; return the live stream it already feeds, if any."""
        with self._mutex:  # the check-and-set only
            holder = self.known.get(key, feed)[1]()
            is_other = holder is not None and holder is not stream
            if is_other and not first_rpc_is_over(_Feeding(feed[0](), holder)):
                return holder
            self.known[key] = feed
            return None

    def feed(self, stream: Stream) -> bool:
        """Tell whether a generator feeds `stream`; it takes time with the number of generators."""
        return any(holder() is stream for _, holder in self.known.copy().values())

    def after_fork(self) -> None:
        self._mutex = threading.RLock()


feeds = _Feeds()
start_clean(feeds)
