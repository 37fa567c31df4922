"""Parties, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from .._catalogue.cpython import threads_by_ident
from .._findings.parties import name_of_thread


class Party(NamedTuple):
    """A thread, task or greenlet; ``key`` is the same for the same one in the whole look."""

    kind: str
    name: str
    key: tuple[str, int]
    ident: int = 0  # of a thread
    actual_task: asyncio.Task[Any] | None = None

    @classmethod
    def thread(cls, ident: int) -> Party:
        return cls(*name_of_thread(ident), ("thread", ident), ident)


class Wait(NamedTuple):
    """Who waits for whom: for the end of it, or behind it for a turn."""

    waiter: Party
    awaited: Party
    is_timed: bool = False  # it ends by itself, after some time


JOIN = threading.Thread.join.__code__


def joins(party: Party, frames: Iterable[FrameType]) -> Iterator[Wait]:
    """Yield for the end of which threads `party`, a thread with these `frames`, waits."""
    for frame in frames:
        if frame.f_code is JOIN:
            names = frame.f_locals
            joined = names["self"]
            ident = (
                getattr(joined, "_ident", None) or 0
            )  # `ident` may be a property of the program's
            if (
                threads_by_ident.get(ident) is joined
            ):  # else it has ended: that may be another one's
                yield Wait(party, Party.thread(ident), names.get("timeout") is not None)
