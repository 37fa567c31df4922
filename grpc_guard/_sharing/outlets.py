"""Where the messages of one stream go: to one of those who wait, or to all who subscribed.

Neither locks nor loops, as core.py.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from .core import FORKED, Buffer, End, Waiter

T = TypeVar("T")


class Outlets(Generic[T]):
    """Where the messages of one stream go, and whether one more is wanted.

    On demand: to one buffer, and only while a receiver waits for a message. Otherwise to every
    buffer, beginning when a subscriber first waits for a message, so that all may subscribe before;
    and only while each buffer of mode ``"wait"`` has room.

    On demand, neither the next message nor the end overtakes a message whose receiver has not run
    since it got it: if that is cancelled, it gives the message back.
    """

    def __init__(self, *, is_on_demand: bool) -> None:
        self.is_on_demand = is_on_demand
        self.buffers: list[Buffer[T]] = []
        self.end: End | None = None
        self._has_begun = False
        self._hand: Waiter | None = None  # who was handed the last message
        self._end_to_come: End | None = None

    def add(self, buffer: Buffer[T]) -> None:
        """Let `buffer` have the messages from now on."""
        if self.end is None:
            self.buffers.append(buffer)
        else:
            buffer.finish(self.end)

    def remove(self, buffer: Buffer[T]) -> None:
        """Let `buffer` have no more; what it holds is dropped."""
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
        """Give `message` to each; one that has no room and asked for it is closed."""
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
        """Let the next one have what a taker that was interrupted had got."""
        if self._hand is waiter:
            self._hand = None
            self._note_hand(buffer)
        buffer.give_back(waiter)
        self._end_now()

    def received(self, waiter: Waiter) -> None:
        """Note that who was handed a message has it for good."""
        if self._hand is waiter:
            self._hand = None
            self._end_now()

    def _end_now(self) -> None:
        if self._end_to_come is not None and self._hand is None:
            self.finish(self._end_to_come)

    def fail(self, error: BaseException) -> None:
        """Raise in all who wait an error that is not the end."""
        for buffer in self.buffers:
            buffer.fail(error)

    def forked(self) -> None:
        """Tell all that the stream is the parent's."""
        self._hand = None
        self.finish(FORKED)

    def finish(self, end: End) -> None:
        """Tell all of the end; what they have can still be taken."""
        if self._hand is not None:
            self._end_to_come = end
        elif self.end is None:
            self.end = end
            for buffer in self.buffers:
                buffer.finish(end)
            self.buffers.clear()
