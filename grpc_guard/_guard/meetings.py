"""What the excuses are shown: an operation that met another, and a use after the end."""

from __future__ import annotations

from types import FrameType

from .._core.extras import Ticket
from .._core.stream import Direction, Stream
from .._findings.records import Owner
from .._findings.stacks import grpc_is_the_caller
from . import interceptors, owners
from .feeds import feeds
from .shareable import leads_to_grpc


class Meeting:
    """An operation that met another in its direction. Its owner is searched at the first access."""

    def __init__(self, direction: Direction, operation: str) -> None:
        self._direction = direction
        self.operation = operation
        self._found: tuple[Owner | None, bool] | None = None
        self._is_over: bool | None = None

    @property
    def owner(self) -> Owner | None:
        return self._find()[0]

    @property
    def owner_is_being_cancelled(self) -> bool:
        return self._find()[1]

    @property
    def rpc_is_over(self) -> bool:
        if self._is_over is None:
            self._is_over = self._direction.stream.is_over()
        return self._is_over

    @property
    def rpcs_may_share(self) -> bool:
        return self._direction.asks_program and not feeds.feed(self._direction.stream)

    @property
    def interceptor_holds_it(self) -> bool:
        owner, stream = self.owner, self._direction.stream
        yielded = owner is not None and owner.operation == "yield"
        return yielded and interceptors.runs(stream)

    def _find(self) -> tuple[Owner | None, bool]:
        # No functools.cached_property: on 3.11 it has a lock, which a fork can leave held.
        if self._found is None:
            self._found = self._look()
        return self._found

    def _look(self) -> tuple[Owner | None, bool]:
        return owners.last_owner_of(self._direction)


class Wait(Meeting):
    """An operation that waits for its turn; the party it met is known by a ticket, or searched."""

    def __init__(self, direction: Direction, ticket: Ticket, met: Ticket | None) -> None:
        super().__init__(direction, ticket.operation)
        self._met = met

    def _look(self) -> tuple[Owner | None, bool]:
        return owners.party_to_wait(self._direction, self._met)


class LateUse:
    """The use, at `frame`, of a server stream object whose handler has ended."""

    def __init__(self, stream: Stream, operation: str, frame: FrameType) -> None:
        self.in_done_callback = stream.in_done_callback
        self._operation = operation
        self._stream = stream
        self._frame = frame

    @property
    def grpc_asks(self) -> bool:
        return grpc_is_the_caller(self._frame)

    @property
    def reaches_grpc(self) -> bool:
        requests = (
            getattr(self._stream.read, "iterator", None) if self._operation == "next" else None
        )
        return requests is None or leads_to_grpc(requests.__next__)

    @property
    def interceptor_goes_on(self) -> bool:
        return interceptors.goes_on(self._stream)
