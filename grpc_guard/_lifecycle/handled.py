"""Tables of streams that are handled: by whom, and since when. The compiled core has its own."""

from __future__ import annotations

from typing import Protocol

from .._core.stream import Stream


class HandledStreams(Protocol):
    """Streams that are handled, and since when, by an identity."""

    def get(self, identity: int, /) -> tuple[Stream, float] | None:
        """Return a stream and since when."""

    def since(self, identity: int, /) -> float | None:
        """Return since when."""

    def put(self, identity: int, stream: Stream, since: float, /) -> None:
        """Put a stream in place of what was there."""

    def streams(self) -> list[Stream]:
        """Return all of them."""


class Handled:
    """The same, in Python."""

    def __init__(self) -> None:
        self.table: dict[int, tuple[Stream, float]] = {}
        self.get = self.table.get

    def since(self, identity: int, /) -> float | None:
        """See HandledStreams."""
        found = self.table.get(identity)
        return None if found is None else found[1]

    def put(self, identity: int, stream: Stream, since: float, /) -> None:
        """See HandledStreams."""
        self.table[identity] = stream, since

    def streams(self) -> list[Stream]:
        """See HandledStreams."""
        return [stream for stream, _ in self.table.values()]
