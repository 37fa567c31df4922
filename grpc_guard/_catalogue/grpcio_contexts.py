"""The contexts of grpcio's own classes, which an interceptor may hide in contexts of its own.

They are found in what an object holds, so that no code of the program runs: it may not expect to be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .grpcio import AIO_CONTEXT, SERVER_CONTEXT
from .heap import collected, held_by, led_to

_WRAPPERS, _LOOKED_AT = 12, 500  # objects one in the other, and all of them, that are looked at


def context_among(given: Sequence[object]) -> Any:
    """Return the context to which what a handler was `given` leads, sync or aio; None if none is near.

    It may be that of another RPC: good enough to leave out a report, and not to make one.
    """
    seen: set[int] = set()
    level = list(given)
    for _ in range(_WRAPPERS):
        inner: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is AIO_CONTEXT or kind is SERVER_CONTEXT:
                return one
            if id(one) not in seen and len(seen) < _LOOKED_AT:
                seen.add(id(one))
                inner += led_to(one)
        level = inner
    return None


def context_within(context: object) -> Any:
    """Return the sync context that `context` is, or is around, one in the other; None if that is not clear.

    It is that of the same RPC: looked at are attributes of what looks like a context alone.
    """
    for _ in range(_WRAPPERS):
        if type(context) is SERVER_CONTEXT:
            return context
        parts = held_by(context)
        held = {id(one): one for part in parts for one in (part, *collected(part))}
        found = [one for one in held.values() if type(one) is SERVER_CONTEXT]
        if not found:
            found = [one for one in held.values() if one is not context and _is_context(type(one))]
        if len(found) != 1:
            return None
        (context,) = found
    return None


def _is_context(kind: type) -> bool:
    return any("add_callback" in vars(base) for base in kind.__mro__)
