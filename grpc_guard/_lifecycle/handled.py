"""Tables of what is handled, by whom and since when: streams, and unary RPCs by their names.

The compiled core has its own.
"""

from __future__ import annotations

from typing import Protocol

from .._core.stream import Stream


class HandledStreams(Protocol):
    """Streams and unary RPCs that are handled, and since when, by an identity."""

    def get(self, identity: int, /) -> tuple[Stream | str, float] | None:
        """Return a stream, or the name of a unary RPC, and since when."""

    def since(self, identity: int, /) -> float | None:
        """Return since when."""

    def put(self, identity: int, what: Stream | str, since: float, /) -> None:
        """Put a stream, or the name of a unary RPC, in place of what was there."""

    def streams(self) -> list[Stream]:
        """Return all streams."""


class Handled:
    """The same, in Python."""

    def __init__(self) -> None:
        self.table: dict[int, tuple[Stream | str, float]] = {}
        self.get = self.table.get

    def since(self, identity: int, /) -> float | None:
        """See HandledStreams."""
        found = self.table.get(identity)
        return None if found is None else found[1]

    def put(self, identity: int, what: Stream | str, since: float, /) -> None:
        """See HandledStreams."""
        self.table[identity] = what, since

    def streams(self) -> list[Stream]:
        """See HandledStreams."""
        return [what for what, _ in self.table.values() if isinstance(what, Stream)]
