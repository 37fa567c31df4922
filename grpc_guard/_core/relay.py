"""Passing on what an async generator yields, which Python has no ``yield from`` for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from types import TracebackType
from typing import Any


class Relay:
    """The items of `generator`, for an async generator that stands between it and its user.

    What the user sends, or throws in, reaches `generator` with the next step; it is the
    caller's to close it::

        relay = Relay(generator)
        async for item in relay:
            with relay:
                relay.sent = yield item
    """

    def __init__(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generator = generator
        self.sent: Any = None
        self._thrown: BaseException | None = None

    def __aiter__(self) -> Relay:
        return self

    def __anext__(self) -> Awaitable[Any]:
        sent, self.sent = self.sent, None
        thrown, self._thrown = self._thrown, None
        generator = self._generator
        return generator.asend(sent) if thrown is None else generator.athrow(thrown)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Keep what was thrown in for `generator`: GeneratorExit, too, is its own to answer."""
        self._thrown = error
        return error is not None
