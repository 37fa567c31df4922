"""The rule unfinished-stream: a stream was neither drained nor cancelled when the program or the test ended."""

from __future__ import annotations

import dataclasses

from .. import words
from ..leak import and_others
from ..nouns import Party, Way
from ..rule import ANY, Evidence, Rule

UNFINISHED_STREAM = Rule(
    "unfinished-stream",
    severity="warning",
    summary="a stream was neither drained nor cancelled when the program or the test ended",
    unguarded={
        "client sync": "the stream stays open: it takes a place on its connection, and a thread "
        "of the server",
        "client aio": "the stream stays open: garbage collection does not cancel it either",
        ANY: "cannot happen: a handler's stream ends with the handler",
    },
    remedy="read the stream to its end, or cancel() the call when you are done with it",
    source="grpc-go, comment of ClientConn.NewStream: to ensure resources are not leaked",
)


@dataclasses.dataclass(frozen=True, slots=True)
class NeverEnded(Evidence):
    """The stream that `starter` started was not ended; `others` counts more of them from that line.

    `last` is the direction of its last operation, and how many seconds ago that began.
    """

    rule = UNFINISHED_STREAM
    starter: Party
    others: int
    last: tuple[Way, float] | None = None
    was_dropped: bool = False  # it lived on to the end of its channel

    def __str__(self) -> str:
        dropped = "dropped while it went on, " if self.was_dropped else ""
        text = f"{dropped}neither drained nor cancelled; {words.made(self.starter, 'started')}"
        if self.last is not None:
            way, seconds = self.last
            text += f", last {way} {words.duration(seconds)} ago"
        return and_others(text, self.others)
