"""Which RPC a generator object feeds: the rule shared-iterator.

Only generators are checked. Other iterators may be meant to be shared (an object around a
queue), and reuse of a generator after its RPC ended is legal.
"""

from __future__ import annotations

import functools
import weakref
from types import AsyncGeneratorType, GeneratorType

from .._catalogue.rules.shared_iterator import SenderInside, SharedGenerator
from .._catalogue.words import escaped
from .._core import which
from .._core.stream import Stream
from . import owners
from .feeds import Feed, feeds
from .violations import violate


def bind(iterator: object, stream: Stream, operation: str) -> None:
    """Note that `iterator` feeds `stream`; raise ConcurrencyError if another live RPC has it."""
    if type(iterator) is not GeneratorType and type(iterator) is not AsyncGeneratorType:
        return
    key = id(iterator)
    # A finaliser takes no lock, and this one runs no Python code. No other thread can bind this
    # generator then, and a new object gets its identity only later.
    forget = functools.partial(feeds.known.pop, key)
    feed: Feed = weakref.ref(iterator, forget), weakref.ref(stream)
    if feeds.known.setdefault(key, feed) is feed:  # atomic, and nearly always the first
        return
    holder = feeds.bind_again(key, feed, stream)
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
            "feeds": feeds.known,
            "bind": bind,
        }
    )
