"""Which generator objects feed which streams."""

from __future__ import annotations

import threading
import weakref
from typing import Any

from .._catalogue.forks import start_clean
from .._catalogue.rules.shared_iterator import first_rpc_is_over
from .._core.stream import Stream

Generator = weakref.ref[Any]


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
        # Weak references to the same generator are equal: it is known once. The one that is the key
        # forgets it when it dies.
        self.known: dict[Generator, weakref.ref[Stream]] = {}

    def bind_again(self, generator: Generator, stream: Stream) -> Stream | None:
        """Note that a known `generator` feeds `stream`; return the live one that it already feeds."""
        with self._mutex:  # the check-and-set only
            held = self.known.get(generator)
            holder = None if held is None else held()
            is_other = holder is not None and holder is not stream
            if is_other and not first_rpc_is_over(_Feeding(generator(), holder)):
                return holder
            self.known[generator] = weakref.ref(stream)
            return None

    def feed(self, stream: Stream) -> bool:
        """Tell whether a generator feeds `stream`; it takes time with the number of generators."""
        return any(holder() is stream for holder in self.known.copy().values())

    def after_fork(self) -> None:
        self._mutex = threading.RLock()


feeds = _Feeds()
start_clean(feeds)
