"""Where the messages of one stream go: to one of the waiting receivers, or to all subscribers.

It has neither locks nor loops, like core.py.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from .core import FORKED, Buffer, End, Waiter

T = TypeVar("T")


class Outlets(Generic[T]):
    """Where the messages of one stream go, and whether one more is wanted.

    On demand, they go to one buffer, and only while a receiver waits for a message. Otherwise they
    go to every buffer, from the first time that a subscriber waits for a message, so that all can
    subscribe before; and only while each buffer of mode ``"wait"`` has room.

    On demand, neither the next message nor the end is given out while a receiver that has got a
    message has not run yet: if it is cancelled, it gives the message back.
    """

    def __init__(self, *, is_on_demand: bool) -> None:
        self.is_on_demand = is_on_demand
        self.buffers: list[Buffer[T]] = []
        self.end: End | None = None
        self._has_begun = False
        self._hand: Waiter | None = None  # the receiver that got the last message
        self._end_to_come: End | None = None

    def add(self, buffer: Buffer[T]) -> None:
        """Give messages to `buffer` from now on."""
        if self.end is None:
            self.buffers.append(buffer)
        else:
            buffer.finish(self.end)

    def remove(self, buffer: Buffer[T]) -> None:
        """Give no more to `buffer`; drop what it holds."""
        buffer.items.clear()
        buffer.close()
        if buffer in self.buffers:
            self.buffers.remove(buffer)

    @property
    def is_over(self) -> bool:
        """Whether the end was read."""
        return self.end is not None or self._end_to_come is not None

    def wants(self) -> bool:
        """Tell whether to read one more message."""
        if self.is_over:
            return False
        if self.is_on_demand:
            return self._hand is None and any(buffer.takers for buffer in self.buffers)
        if not self._has_begun:
            self._has_begun = any(buffer.takers for buffer in self.buffers)
        return bool(self._has_begun and self.buffers) and not any(
            buffer.when_full == "wait" and len(buffer.items) >= buffer.maxsize
            for buffer in self.buffers
        )

    def deliver(self, message: T) -> None:
        """Give `message` to each buffer; a full one of mode ``"fail"`` is closed."""
        for buffer in tuple(self.buffers):
            self._note_hand(buffer)
            try:
                buffer.offer(message)
            except buffer.full as full:
                buffer.finish(End(None, "the subscriber was too slow", full.with_traceback(None)))
                self.buffers.remove(buffer)

    def _note_hand(self, buffer: Buffer[T]) -> None:
        if self.is_on_demand and buffer.takers:
            self._hand = buffer.takers[0]

    def give_back(self, buffer: Buffer[T], waiter: Waiter) -> None:
        """Give to the next taker the message that an interrupted one had got."""
        if self._hand is waiter:
            self._hand = None
            self._note_hand(buffer)
        buffer.give_back(waiter)
        self._end_now()

    def received(self, waiter: Waiter) -> None:
        """Note that a receiver keeps the message that it got."""
        if self._hand is waiter:
            self._hand = None
            self._end_now()

    def _end_now(self) -> None:
        if self._end_to_come is not None and self._hand is None:
            self.finish(self._end_to_come)

    def fail(self, error: BaseException) -> None:
        """Raise an error, which is not the end, in all waiters."""
        for buffer in self.buffers:
            buffer.fail(error)

    def forked(self) -> None:
        """End all buffers: the stream belongs to the parent."""
        self._hand = None
        self.finish(FORKED)

    def finish(self, end: End) -> None:
        """Pass the end to all buffers; what they hold can still be taken."""
        if self._hand is not None:
            self._end_to_come = end
        elif self.end is None:
            self.end = end
            for buffer in self.buffers:
                buffer.finish(end)
            self.buffers.clear()
