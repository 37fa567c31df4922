"""One look at all threads and tasks: which is inside which direction, which wait, and for which.

The frames of all threads are taken once, and the tasks of each loop once. Frames of tasks are made,
and stacks copied, only for those who are inside a stream, wait for one, or handle an RPC.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import Collection, Iterable, Sequence
from types import FrameType
from typing import Any

from .._catalogue.clock import monotonic
from .._catalogue.cpython import frames_of_threads
from .._catalogue.cpython_loops import waits_for_tasks
from .._catalogue.grpcio_rpcs import any_handles_an_rpc, handles_an_rpc, sending_call
from .._core import which
from .._core.operations import IDENTITIES
from .._core.stream import Direction, Stream
from .._findings.parties import name_of_task, suspended_greenlets, task_at, thread_at
from .._findings.records import Frame, Owner
from .._findings.stacks import outward
from .._findings.waiters import idle_type
from .._guard.noted import noted_directions, standing_among, standing_at
from .._guard.owners import owner_with_frame, owner_without_frame
from .._guard.roles import Role, owner_at, roles, standing_roles
from .chains import Place, groups, places
from .lines import CORE, OPERATION, SENDING, Lines
from .living import Handled
from .native import slices_of
from .noting import gathered, new_crowd
from .records import new_owner
from .remembered import NOWHERE, SETTLED, Memory, Standing
from .threads import look_at_threads
from .waits import JOIN, Party, Wait, joins

_ELSEWHERE = 100  # parties without a line of their own for whom it is looked for elsewhere
_TRIES = 3  # a task that runs on another thread at this very moment shows no frames
_TOGETHER = 512 if which.compiled() is None else 1024  # tasks, which take a millisecond or two
_locals, _direction = operator.attrgetter("f_locals"), operator.itemgetter("direction")


class Sight:
    """What one look has shown; directions by their identity, parties by their key."""

    def __init__(
        self,
        loops: Collection[asyncio.AbstractEventLoop],
        handled: Handled | None = None,
        streams: list[Stream] | None = None,
    ) -> None:
        self.handled = handled or Handled()
        self.lines = Lines()
        self.loops = loops  # those of all tasks
        self.crowd = new_crowd()
        # Those who are not in the crowd: the owners, and they themselves.
        self.owners: dict[int, Owner] = {}
        self.holders: dict[int, Party] = {}
        self.waiters: dict[int, list[tuple[Party, Owner]]] = {}
        self.directions: dict[int, Direction] = {}  # those of owners and waiters
        self._strays: Iterable[Direction] | None = None
        self.sending: set[int] = set()  # calls of grpc.aio with a message that is not sent yet
        self.joins: list[Wait] = []  # who waits for the end of whom
        self.threads: dict[int, list[FrameType]] = {}  # innermost first
        self.rpc_tasks: list[tuple[Sequence[asyncio.Task[Any]], tuple[Frame, ...]]] = []  # by stack
        self._tasks: dict[int, Party] = {}
        self._found_elsewhere = self._looked_for = 0
        self.time = monotonic()  # what began later was not seen
        self.running: dict[asyncio.AbstractEventLoop, asyncio.Task[Any]] = {}  # the task of each
        try:
            self._look_at_tasks(loops, streams)
            self._look_at_threads(loops)
            for name, frame in suspended_greenlets():
                chain = list(outward(frame))
                found = roles(chain, standing_among(chain, noted_directions()))
                self._note(Party("greenlet", name, ("greenlet", id(frame))), found)
        except BaseException:
            self.forget_frames()
            raise

    def forget_frames(self) -> None:
        """Let go of all frames: they hold what the program has in hand."""
        for chain in self.threads.values():
            chain.clear()  # a frame of ours that is in the list has it as a local variable
        self.threads.clear()
        self.rpc_tasks.clear()
        self.running.clear()
        self._tasks.clear()

    def party(self, task: asyncio.Task[Any]) -> Party:
        """Return `task` as a party."""
        key = id(task)
        found = self._tasks.get(key)
        if found is None:
            found = self._tasks[key] = Party("task", name_of_task(task), ("task", key), 0, task)
        return found

    def streams_among(self, listed: list[Stream]) -> list[Stream]:
        """Return the streams that are `listed`, and those that somebody is inside of: the same list."""
        self._strays = gathered(listed, self.crowd, list(self.directions.values()))
        return listed

    @property
    def strays(self) -> Iterable[Direction]:
        """Those that their stream may not know: all, until streams_among() has looked at them."""
        return self._seen() if self._strays is None else self._strays

    def _seen(self) -> list[Direction]:
        return [*self.crowd.directions(), *self.directions.values()]

    def sees(self, direction: Direction) -> bool:
        """Tell whether somebody is inside `direction`, or waits for it."""
        return id(direction) in self.directions or self.crowd.holder(direction) is not None

    def owner(self, direction: Direction | None) -> Owner | None:
        """Return who was seen inside `direction`."""
        found = self.owners.get(id(direction))
        return self.crowd.owner(direction) if found is None and direction is not None else found

    def owner_not_seen(self, direction: Direction) -> Owner | None:
        """Return the owner of a direction that is owned, in which nobody was seen.

        It shows no frame; or it has come since the look, and is nobody's business then.
        """
        for _ in range(_TRIES if direction.stream.handler is None else 0):
            self._looked_for += 1
            if direction.is_free or owner_with_frame(direction) is not None:
                return None
            if self._looked_for > _ELSEWHERE:
                break
        return owner_without_frame(direction)

    def holder(self, direction: Direction) -> Party:
        """Return the owner of `direction` as a party."""
        task = self.crowd.holder(direction)
        return self.holders[id(direction)] if task is None else self.party(task)

    def inside_of_waits(self) -> list[Direction]:
        """Return the directions of owners who wait for somebody, or for whom somebody waits."""
        parties = {party.key for wait in self.joins for party in wait[:2]}
        parties.update(party.key for waiting in self.waiters.values() for party, _ in waiting)
        found = {key: self.directions[key] for key in self.waiters}
        found |= {
            key: self.directions[key]
            for key, holder in self.holders.items()
            if holder.key in parties
        }
        tasks = {key for kind, key in parties if kind == "task"}
        found |= {id(one): one for one in self.crowd.held_by(tasks)}
        return [one for one in found.values() if self.owner(one) is not None]

    def waiting(self, direction: Direction) -> tuple[Owner, ...]:
        return tuple(owner for _, owner in self.waiters.get(id(direction), ()))

    def _look_at_threads(self, loops: Collection[asyncio.AbstractEventLoop]) -> None:
        running = [(one, task) for one in loops if (task := asyncio.current_task(one)) is not None]
        frames = frames_of_threads()
        try:
            noted = noted_directions()
            # Of a task that runs before and after, the frames are its own.
            self.running = {one: it for one, it in running if it is asyncio.current_task(one)}
            self.threads, met = look_at_threads(frames, noted, {*IDENTITIES, id(JOIN)})
        finally:
            frames.clear()  # this very frame is among them, and in the chains: see forget_frames()
        for ident, chain, callers, is_marked in met:
            party = Party.thread(ident)
            standing = standing_at(callers, chain, noted, ident)
            self._note(party, (roles if is_marked else standing_roles)(chain, standing))
            self.joins += joins(party, chain) if is_marked else ()

    def _look_at_tasks(
        self, loops: Collection[asyncio.AbstractEventLoop], streams: list[Stream] | None
    ) -> None:
        ends = {id(idle_type(loop)) for loop in loops}
        fresh: list[asyncio.Task[Any]] = []
        with Memory(set(loops), streams) as memory:
            self.lines.known = memory.stacks
            for standing, some, directions in memory.looked_at(fresh, self.crowd, self.time):
                self._note_together(some, standing, directions)
            for tasks in slices_of(fresh, _TOGETHER):
                for group in groups(tasks, self.lines, ends):
                    if group.kinds == CORE:
                        memory.note(group.tasks, SETTLED)
                        continue
                    handles = any_handles_an_rpc(group.tasks)
                    if not (handles or group.kinds & (OPERATION | SENDING)):
                        memory.note(group.tasks, NOWHERE)
                        continue
                    for place in places(group):
                        told = self._look_at_place(place, group.kinds, handles=handles)
                        if told is not None:
                            memory.note(place.tasks, *told)
                for task, awaited in waits_for_tasks(tasks):  # others wait for plain futures
                    self.joins.append(Wait(self.party(task), self.party(awaited)))
            memory.stacks.update(self.lines.same)

    def _look_at_place(
        self, place: Place, kinds: int, *, handles: bool
    ) -> tuple[Standing, Sequence[Direction]] | None:
        """Note what the tasks at one place do; return what is true of all of them."""
        found = self._standing_at(place) if kinds & OPERATION else (NOWHERE, ())
        if found is None:
            for index, task in enumerate(place.tasks):
                found_roles = roles(place.frames_of(index), place.standing_of(index))
                self._note(self.party(task), found_roles)
        sending: set[int] = set()
        if kinds & SENDING:
            for inner, outer in itertools.pairwise(place.frames):
                calls = map(sending_call, inner, outer)
                sending.update(id(call) for call in calls if call is not None)
            self.sending |= sending
        handling = [task for task in place.tasks if handles_an_rpc(task)] if handles else []
        stack = self.lines.stack(place.frames_of(0)) if handling else None
        if found is None or sending or 0 < len(handling) < len(place.tasks):
            if handling:
                self.rpc_tasks.append((handling, stack or ()))
            if found is not None:
                self._note_together(place.tasks, *found)
            return None
        standing, directions = found[0]._replace(handler=stack), found[1]
        self._note_together(place.tasks, standing, directions)
        return standing, directions

    def _standing_at(self, place: Place) -> tuple[Standing, Sequence[Direction]] | None:
        """Return in which directions the tasks at one place are, if the place tells their role."""
        frames = place.frames_of(0)
        if place.standing:
            if len(place.standing) > 1 or any(id(one.f_code) in IDENTITIES for one in frames):
                return None  # each may have further roles
            (role,) = roles(frames, place.standing_of(0))
            stack = self.lines.stack(role.frames)
            _, directions, _ = place.standing[0]
            return (Standing(None, role.operation, stack), list(directions)) if stack else None
        found = owner_at(frames)
        if found is None:
            return None
        index, role = found
        stack = self.lines.stack(role.frames)
        if not stack:  # the line may be elsewhere
            return None
        try:
            directions = list(map(_direction, map(_locals, place.frames[index])))
        except KeyError:  # one of them has gone on meanwhile
            return None
        return Standing(None, role.operation, stack, role.is_timed), directions

    def _note_together(
        self,
        tasks: Sequence[asyncio.Task[Any]],
        standing: Standing,
        directions: Sequence[Direction],
    ) -> None:
        """Note what tasks of one standing do, and in which directions they are."""
        if standing.handler is not None:
            self.rpc_tasks.append((tasks, standing.handler))
        if directions:
            said = standing.operation, standing.stack, standing.is_timed
            self.crowd.note(tasks, directions, *said, self.time)
            for one in directions if self.owners else ():
                self.owners.pop(id(one), None)
                self.holders.pop(id(one), None)

    def _note(self, party: Party, found: Iterable[Role]) -> None:
        """Note in which directions `party` is, and for which it waits."""
        for role in found:
            actual = self._of_loop(party, role)
            direction = role.direction
            key = id(direction)
            self.directions[key] = direction
            if role.is_owner:
                self.crowd.forget(direction)
                held = max(0.0, self.time - direction.since) if role.is_timed else 0.0
                self.owners[key], self.holders[key] = self._owner(actual, role, held), actual
            else:
                self.waiters.setdefault(key, []).append((actual, self._owner(actual, role, None)))

    def _of_loop(self, party: Party, role: Role) -> Party:
        """Return the task that a thread runs at this moment, if the role is one in an aio stream."""
        loop = role.direction.stream.loop
        if party.kind != "thread" or loop is None:
            return party
        task = self.running.get(loop)
        return party if task is None else self.party(task)

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
        return new_owner(party.kind, party.name, operation, held, stack, "inside", None)
