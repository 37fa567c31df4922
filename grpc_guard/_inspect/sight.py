"""One look at everybody who runs: who is inside which direction, who waits, and for whom.

The frames of all threads are taken once, and the tasks of each loop once. Stacks are copied only
for those who are inside a stream or wait for one.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import threading
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from time import monotonic
from types import CodeType, FrameType
from typing import Any

from .._catalogue.cpython import frames_of_threads
from .._catalogue.cpython_loops import task_awaited_by
from .._catalogue.grpcio_rpcs import handles_an_rpc, sending_call
from .._core.stream import Direction
from .._findings.parties import (
    name_of_task,
    name_of_thread,
    suspended_greenlets,
    task_at,
    thread_at,
)
from .._findings.records import Frame, Owner
from .._findings.stacks import copy_frame, outward
from .._findings.waiters import await_chain
from .._findings.whose import LIBRARY, PROGRAM, Whose, whose
from .._guard.roles import Role, roles

_DEPTH = 40  # frames kept of a stack, those nearest to the line of the program
_ELSEWHERE = 100  # parties without a line of their own for whom it is looked for elsewhere
_JOIN = threading.Thread.join.__code__


class Lines:
    """Copies frames, and copies equal ones once: thousands of parties may stand at one line."""

    def __init__(self) -> None:
        self._copies: dict[tuple[CodeType, int | None], Frame] = {}
        self._whose: dict[CodeType, Whose] = {}

    def stack(self, frames: Iterable[FrameType]) -> tuple[Frame, ...]:
        """Return `frames` (innermost first) as stacks.fold() does."""
        kept = [frame for frame in frames if self._of(frame) in (PROGRAM, LIBRARY)]
        lines = (index for index, frame in enumerate(kept) if self._of(frame) is PROGRAM)
        site = next(lines, 0)
        return tuple(self._copied(frame) for frame in reversed(kept[site : site + _DEPTH]))

    def _of(self, frame: FrameType) -> Whose:
        code = frame.f_code
        if code not in self._whose:
            self._whose[code] = whose(frame)
        return self._whose[code]

    def _copied(self, frame: FrameType) -> Frame:
        key = frame.f_code, frame.f_lineno
        if key not in self._copies:
            self._copies[key] = copy_frame(frame)
        return self._copies[key]


@dataclasses.dataclass(frozen=True, slots=True)
class Party:
    """A thread, task or greenlet; ``key`` is the same for the same one in the whole look."""

    kind: str
    name: str
    key: Hashable
    ident: int = 0  # of a thread
    actual_task: asyncio.Task[Any] | None = None

    @classmethod
    def thread(cls, ident: int) -> Party:
        return cls(*name_of_thread(ident), ("thread", ident), ident)

    @classmethod
    def task(cls, task: asyncio.Task[Any]) -> Party:
        return cls("task", name_of_task(task), ("task", id(task)), actual_task=task)


class Sight:
    """What one look has shown; directions by their identity, parties by their key."""

    def __init__(self, loops: Iterable[asyncio.AbstractEventLoop]) -> None:
        self.lines = Lines()
        self.owners: dict[int, tuple[Party, Owner]] = {}
        self.waiters: dict[int, list[tuple[Party, Owner]]] = {}
        self.sending: set[int] = set()  # calls of grpc.aio with a message that is not sent yet
        self.joins: list[tuple[Party, Party]] = []  # who waits for the end of whom
        self.threads: dict[int, list[FrameType]] = {}  # innermost first
        self.rpc_tasks: list[tuple[asyncio.Task[Any], list[FrameType]]] = []
        self._found_elsewhere = 0
        self._now = monotonic()
        for loop in loops:
            self._look_at_tasks(loop)
        self._look_at_threads()
        for name, frame in suspended_greenlets():
            party = Party("greenlet", name, ("greenlet", id(frame)))
            self._enter(party, list(outward(frame)))

    def forget_frames(self) -> None:
        """Let go of all frames: they hold what the program has in hand."""
        self.threads.clear()
        self.rpc_tasks.clear()

    def owner(self, direction: Direction) -> Owner | None:
        found = self.owners.get(id(direction))
        return None if found is None else found[1]

    def waiting(self, direction: Direction) -> tuple[Owner, ...]:
        return tuple(owner for _, owner in self.waiters.get(id(direction), ()))

    def _look_at_threads(self) -> None:
        frames = frames_of_threads()
        try:
            for ident, innermost in frames.items():
                chain = list(outward(innermost))
                self.threads[ident] = chain
                party = Party.thread(ident)
                self._enter(party, chain)
                for frame in chain:
                    if frame.f_code is _JOIN:
                        joined = Party.thread(frame.f_locals["self"].ident or 0)
                        self.joins.append((party, joined))
        finally:
            frames.clear()  # this very frame is in there, in a cycle

    def _look_at_tasks(self, loop: asyncio.AbstractEventLoop) -> None:
        for task in asyncio.all_tasks(loop):
            chain = list(await_chain(task.get_coro()))
            chain.reverse()
            if handles_an_rpc(task):
                self.rpc_tasks.append((task, chain))
            self._enter(Party.task(task), chain)
            for inner, outer in itertools.pairwise(chain):
                call = sending_call(inner, outer)
                if call is not None:
                    self.sending.add(id(call))
            awaited = task_awaited_by(task)
            if awaited is not None:
                self.joins.append((Party.task(task), Party.task(awaited)))

    def _enter(self, party: Party, frames: Sequence[FrameType]) -> None:
        for role in roles(frames):
            actual = self._of_loop(party, role)
            key = id(role.direction)
            if role.is_owner:
                held = max(0.0, self._now - role.direction.since)
                self.owners[key] = actual, self._owner(actual, role, held)
            else:
                self.waiters.setdefault(key, []).append((actual, self._owner(actual, role, None)))

    def _of_loop(self, party: Party, role: Role) -> Party:
        """Return the task that a thread runs at this moment, if the role is one in an aio stream."""
        loop = role.direction.stream.loop
        if party.kind != "thread" or loop is None:
            return party
        task = asyncio.current_task(loop)
        return party if task is None else Party.task(task)

    def _owner(self, party: Party, role: Role, held: float | None) -> Owner:
        operation, stack = role.operation, self.lines.stack(role.frames)
        # Where the party was given the operation itself to do, the line is elsewhere. To find it
        # takes a look at everybody, so it is found for some.
        if not stack and role.direction.is_shared and self._found_elsewhere < _ELSEWHERE:
            self._found_elsewhere += 1
            if party.actual_task is not None:
                return task_at(party.actual_task, operation, held, stack)
            if party.ident in self.threads:
                return thread_at(party.ident, self.threads[party.ident][0], operation, held, stack)
        return Owner(party.kind, party.name, operation, held, stack)


def loops_of(directions: Collection[Direction]) -> Iterator[asyncio.AbstractEventLoop]:
    """Yield each loop that one of the directions belongs to."""
    yield from {id(loop): loop for loop in (d.stream.loop for d in directions) if loop}.values()
