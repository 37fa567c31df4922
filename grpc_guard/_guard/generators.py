"""Which RPC a generator object feeds: the rule shared-iterator.

Only generators are checked. Other iterators may be meant to be shared (an object around a
queue), and reuse of a generator after its RPC ended is legal.
"""

from __future__ import annotations

from types import AsyncGeneratorType, GeneratorType
from weakref import ref

from .._catalogue.rules.shared_iterator import SenderInside, SharedGenerator
from .._catalogue.words import escaped
from .._core import which
from .._core.stream import Stream
from . import owners
from .feeds import feeds
from .violations import violate

_hold = feeds.known.setdefault
_forget = feeds.known.pop  # a finaliser takes no lock, and this one runs no Python code


def bind(iterator: object, stream: Stream, operation: str) -> None:
    """Note that `iterator` feeds `stream`; raise ConcurrencyError if another live RPC has it."""
    if type(iterator) is not GeneratorType and type(iterator) is not AsyncGeneratorType:
        return
    generator, held = ref(iterator, _forget), ref(stream)
    if _hold(generator, held) is held:  # atomic, and nearly always the first
        return
    # Nobody forgets it twice: a traceback may keep this frame as long as the generator.
    generator = ref(iterator)
    holder = feeds.bind_again(generator, stream)
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
            "forget": _forget,
            "bind": bind,
        }
    )
