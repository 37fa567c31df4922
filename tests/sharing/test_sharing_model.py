"""Random schedules of sends, takes, interrupts, closes: at every step the queue is the model's."""

from __future__ import annotations

import queue
from typing import Any

import grpc
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from inside import sharing_core, sharing_outlets

Waiter, Buffer, End, NOTHING = (
    sharing_core.Waiter,
    sharing_core.Buffer,
    sharing_core.End,
    sharing_core.NOTHING,
)
OVER = End(grpc.StatusCode.ABORTED, "over")


class Model:
    """The reference: one list, and the names of those who wait."""

    def __init__(self, maxsize: int, when_full: str) -> None:
        self.maxsize, self.when_full = maxsize, when_full
        self.queue: list[int] = []
        self.senders: list[int] = []  # each waits with the message of its number
        self.takers: list[int] = []
        self.got: dict[int, int] = {}  # by taker
        self.in_hand: set[int] = set()
        self.accepted = self.dropped = 0
        self.state = "open"

    def accept(self, message: int) -> None:
        self.accepted += 1
        if self.takers:
            taker = self.takers.pop(0)
            self.got[taker] = message
            self.in_hand.add(message)
        else:
            self.queue.append(message)

    def send(self, message: int) -> str:
        if self.state != "open":
            return "ended"
        if len(self.queue) < self.maxsize:
            self.accept(message)
            return "accepted"
        if self.when_full == "drop_oldest":
            self.dropped += 1
            self.queue.pop(0)
            self.accept(message)
            return "accepted"
        if self.when_full == "fail":
            return "full"
        self.senders.append(message)
        return "waits"

    def admit(self) -> None:
        while self.senders and len(self.queue) < self.maxsize:
            self.accept(self.senders.pop(0))


class Sharing(RuleBasedStateMachine):
    """Drives a buffer as the shells do."""

    @initialize(
        maxsize=st.integers(1, 3), when_full=st.sampled_from(["wait", "drop_oldest", "fail"])
    )
    def begin(self, maxsize: int, when_full: str) -> None:
        self.buffer = Buffer(maxsize, when_full, queue.Full)
        self.model = Model(maxsize, when_full)
        self.waiters: dict[int, Any] = {}
        self.woken: list[int] = []
        self.number = 0

    def waiter(self, message: Any = NOTHING) -> tuple[int, Any]:
        self.number += 1
        number = self.number
        self.waiters[number] = waiter = Waiter(lambda: self.woken.append(number), None, message)
        return number, waiter

    @rule()
    def send(self) -> None:
        number, waiter = self.waiter()
        waiter.message = number
        expected = self.model.send(number)
        try:
            if self.buffer.offer(number):
                outcome = "accepted"
            else:
                outcome = "waits"
                self.buffer.senders.append(waiter)
        except queue.Full:
            outcome = "full"
        except sharing_core.StreamEnded:
            outcome = "ended"
        assert outcome == expected

    @precondition(lambda self: self.model.senders)
    @rule(data=st.data())
    def give_up_sending(self, data: Any) -> None:
        number = data.draw(st.sampled_from(self.model.senders))
        self.model.senders.remove(number)
        self.buffer.withdraw(self.waiters[number])

    @precondition(lambda self: self.model.queue and self.model.when_full == "wait")
    @rule(data=st.data())
    def interrupt_who_was_accepted(self, data: Any) -> None:
        """Its message is taken back, if it waited for room and has not been taken."""
        number = data.draw(st.sampled_from(self.model.queue))
        if self.waiters[number].is_settled:
            self.model.queue.remove(number)
            self.model.accepted -= 1
            if self.model.state == "open":
                self.model.admit()
            self.buffer.withdraw(self.waiters[number])

    @rule()
    def take(self) -> None:
        """As __next__() of a sender: it comes back, for one more."""
        if self.model.takers:
            return
        self.model.in_hand.clear()
        self.buffer.confirm()
        message = self.buffer.take()
        if self.model.queue:
            expected = self.model.queue.pop(0)
            self.model.in_hand.add(expected)
            self.model.admit()
            assert message == expected
        else:
            assert message is NOTHING
            if self.model.state == "open":
                number, waiter = self.waiter()
                self.buffer.takers.append(waiter)
                self.model.takers.append(number)
            else:
                self.buffer.is_flushed = True

    @precondition(lambda self: self.model.got or self.model.takers)
    @rule()
    def interrupt_who_takes(self) -> None:
        if self.model.takers:
            number = self.model.takers.pop()
        else:
            number, message = self.model.got.popitem()
            if message not in self.model.in_hand:
                return
            self.model.in_hand.clear()
            self.model.queue.insert(0, message)
        self.buffer.give_back(self.waiters[number])

    @rule(die=st.integers(1, 24))
    def end(self, die: int) -> None:
        """Rarely: what happens after the end is soon told."""
        if die == 1:
            self.buffer.close()
            self.model.state = "closed" if self.model.state == "open" else self.model.state
        elif die == 2:
            self.buffer.finish(OVER)
            self.model.state = "over"
        else:
            return
        self.model.senders.clear()
        self.model.takers.clear()

    @invariant()
    def agree(self) -> None:
        buffer, model = self.buffer, self.model
        assert list(buffer.items) == model.queue
        assert [waiter.message for waiter in buffer.senders] == model.senders
        assert [self.waiters[number] for number in model.takers] == list(buffer.takers)
        for number, message in model.got.items():
            assert self.waiters[number].message == message
        statistics = buffer.statistics()
        assert (statistics.accepted, statistics.dropped, statistics.queued) == (
            model.accepted,
            model.dropped,
            len(model.queue),
        )
        assert len(set(self.woken)) == len(self.woken)  # each at most once
        waiting = {*model.senders, *model.takers}
        assert waiting.isdisjoint(self.woken)
        if model.state == "over":
            assert buffer.ended().left == len(model.queue)
        assert not (buffer.items and buffer.takers)


def test_random_schedules() -> None:
    """The queue does what the reference does."""
    run_state_machine_as_test(
        Sharing, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )


def test_taking_back_a_message_that_others_follow() -> None:
    """Only that one is taken back, and the next who waits is let in."""
    buffer = Buffer(2, "wait", queue.Full)
    waiters = [Waiter(lambda: None, None, number) for number in range(3)]
    for number in ("a", "b"):
        assert buffer.offer(number)
    for waiter in waiters:
        buffer.senders.append(waiter)
    assert [buffer.take(), buffer.take()] == ["a", "b"]
    assert list(buffer.items) == [0, 1]
    buffer.withdraw(waiters[0])
    assert list(buffer.items) == [1, 2]


def test_the_end_overtaking_nobody() -> None:
    """A receiver that gives back the last message comes before the end."""
    outlets = sharing_outlets.Outlets(is_on_demand=True)
    buffer = Buffer(1, "wait", queue.Full)
    outlets.add(buffer)
    first, second, third = (Waiter(lambda: None, None) for _ in range(3))
    buffer.takers.extend([first, second, third])
    outlets.deliver("last")
    assert not outlets.wants()
    outlets.finish(OVER)
    assert outlets.is_over
    assert buffer.end is None
    outlets.give_back(buffer, first)
    assert (second.message, buffer.end) == ("last", None)
    outlets.received(third)
    assert buffer.end is None
    outlets.received(second)
    assert buffer.end is OVER
    assert not third.is_settled
    outlets.finish(End(None, "again"))
    assert outlets.end is OVER
