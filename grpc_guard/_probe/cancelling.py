"""Cancelling an operation that was held back, as if it had been in progress."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any


class Cancelled:
    """An operation that begins, and is cancelled at once.

    It does what the cancellation would have done without the delay: on a client it ends the
    RPC, and only grpcio knows how.
    """

    def __init__(self, operation: Awaitable[Any], cancellation: asyncio.CancelledError) -> None:
        self._operation = operation
        self._cancellation = cancellation

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._operation.__await__()
        try:
            waits_for = next(steps)
        except StopIteration:
            raise self._cancellation from None
        if waits_for is not None:
            waits_for.cancel()
        try:
            yield steps.throw(self._cancellation)
        except StopIteration as result:
            return result.value
        return (yield from steps)
