"""The rule wrong-loop: an aio object was used from another loop or thread than its own."""

from __future__ import annotations

import dataclasses
from typing import Protocol

from .. import words
from ..nouns import Party
from ..rule import ANY, Evidence, Rule

WRONG_LOOP = Rule(
    "wrong-loop",
    severity="error",
    past=True,
    summary="an aio object was used from another loop or thread than its own",
    unguarded={
        ANY: "'attached to a different loop', 'Event loop is closed', a hang, or corrupted state, "
        "depending on timing",
    },
    remedy="use the object on its own loop: make one channel per loop, or hand the work over with "
    "asyncio.run_coroutine_threadsafe(coroutine, loop)",
    source="grpcio, gRPC AsyncIO API, Caveats: objects may only be used on the thread on which "
    "they were created",
)


class Loop(Protocol):
    """An event loop."""

    def is_running(self) -> bool: ...

    def is_closed(self) -> bool: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Whereabouts:
    """Which loop runs where an object of the loop `own` is used; None if none does."""

    running: Loop | None
    own: Loop


def is_at_home(use: Whereabouts) -> bool:
    """The quick check was wrong: some loops inherit their thread's attribute, and never set it."""
    return use.running is use.own


def begins_with_its_loop(use: Whereabouts) -> bool:
    """No loop runs yet: the RPC begins when its loop does."""
    return use.running is None and not use.own.is_running()


NOT_ASTRAY = (is_at_home,)
NOT_STARTED_ASTRAY = (is_at_home, begins_with_its_loop)


@dataclasses.dataclass(frozen=True, slots=True)
class Home:
    """Where an aio object belongs: its maker and thread, and what its loop does."""

    maker: Party
    thread: str
    state: str

    def __str__(self) -> str:
        return f"{words.made(self.maker)} on thread {self.thread!r}, whose loop {self.state}"


def state_of(loop: Loop) -> str:
    """Return what an event loop does now, in words."""
    if loop.is_running():
        return "runs"
    return "is closed" if loop.is_closed() else "does not run now"


@dataclasses.dataclass(frozen=True, slots=True)
class CallAstray(Evidence):
    """A call was used on a loop that is not its own, or where no loop runs."""

    rule = WRONG_LOOP
    on_loop: bool
    home: Home | None = None

    def __str__(self) -> str:
        where = "another event loop" if self.on_loop else "no event loop"
        channel = "" if self.home is None else f", whose channel was {self.home}"
        return f"it runs on {where} than the one that owns the call{channel}"


@dataclasses.dataclass(frozen=True, slots=True)
class ServerAstray(Evidence):
    """A server was used off its own loop, which is as `state` says, or where no loop runs."""

    rule = WRONG_LOOP
    on_loop: bool
    state: str
    maker: Party | None

    def __str__(self) -> str:
        where = "another event loop" if self.on_loop else "another thread"
        made = "" if self.maker is None else f"; it was {words.made(self.maker)}"
        return f"the server belongs to a loop, which {self.state}, and {where} uses it{made}"


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelAstray(Evidence):
    """A channel was used on another loop than its own, or on another thread, where no loop runs."""

    rule = WRONG_LOOP
    on_loop: bool
    home: Home | None = None

    def __str__(self) -> str:
        where = "another event loop" if self.on_loop else "another thread"
        made = "" if self.home is None else f"; it was {self.home}"
        return f"the channel belongs to a loop, and {where} uses it{made}"
