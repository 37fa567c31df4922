"""The rule blocked-loop: a blocking call blocked the event loop that runs on its thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from typing import Protocol

from .. import words
from ..rule import ANY, Evidence, Rule

BLOCKED_LOOP = Rule(
    "blocked-loop",
    severity="warning",
    summary="a blocking call blocked the event loop that runs on its thread",
    unguarded={
        "client sync": "the whole event loop stands still until the message or response comes; if the "
        "same loop has to answer, until the deadline",
        "client aio": "the whole event loop stands still while a sync request iterator waits: give "
        "grpc.aio an async one",
        "server sync": "the whole event loop stands still until the message comes",
        ANY: "cannot happen: asyncio's operations wait without blocking the loop",
    },
    remedy="use grpc.aio on an event loop, with async request iterators, or make the call in a "
    "thread (asyncio.to_thread)",
    source="Python documentation, Developing with asyncio, Running Blocking Code",
)


@dataclasses.dataclass(frozen=True, slots=True)
class LoopStoodStill(Evidence):
    """The loop of the thread stood still for `seconds`, and with it its other tasks, `others`."""

    rule = BLOCKED_LOOP
    seconds: float
    others: int

    def __str__(self) -> str:
        tasks = "and no other task" if self.others < 1 else f"and with it {self.others} other tasks"
        still = words.duration(self.seconds)
        return f"the event loop of the thread stood still for {still}, {tasks}"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The thresholds of this rule."""

    blocked_loop_seconds: float = 0.1  # a call that waits longer blocks its loop


class Program(Protocol):
    """The program that waits where a loop runs."""

    @property
    def modules(self) -> Container[str]: ...


def is_in_notebook(program: Program) -> bool:
    """In a notebook every cell runs on the loop of the kernel: that is normal there."""
    return "ipykernel" in program.modules
