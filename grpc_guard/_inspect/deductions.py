"""What follows for certain from what one look at this process has shown, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

from .._catalogue.cpython import threads_by_ident
from .._catalogue.cpython_ends import is_waited_for, waits_for_threads
from .._catalogue.grpcio_rpcs import is_receiving
from .._catalogue.words import quoted
from .._core.stream import Direction, Stream
from .._findings.records import Frame, Owner
from .._findings.stacks import fold
from .._findings.waiters import await_chain
from . import wording
from .records import (
    TAKE_SNAPSHOT,
    ChannelSnapshot,
    Deduction,
    DirectionSnapshot,
    ServerSnapshot,
    StreamSnapshot,
)
from .sight import Sight
from .waits import Party, Wait

MOMENT = 1.0  # seconds; a write that has waited for less is on its way, as far as anyone knows

# A stream as it is told, the stream itself, and those of its directions that exist.
Told = tuple[StreamSnapshot, Stream, Sequence[Direction | None]]


def deduced(
    told: Sequence[Told],
    streams: Sequence[Stream],
    channels: Sequence[ChannelSnapshot],
    servers: Sequence[ServerSnapshot],
    sight: Sight,
) -> Iterator[Deduction]:
    """Yield what can be deduced, each only if it is certain.

    Of `streams`, in the order of their numbers. Those that may wait for their peer are among `told`.
    """
    yield from _flow_control(told, channels)
    yield from _waits(streams, sight)
    yield from _kept_alive(streams, sight)
    for server in servers:
        threads = [handler for handler in server.handlers if handler.handler.kind == "thread"]
        # The one that takes this very snapshot is free again at once.
        held = [handler for handler in threads if handler.rpc != TAKE_SNAPSHOT]
        if server.pool_size is not None and len(held) >= server.pool_size:
            over = sum(1 for handler in held if handler.over)
            text = wording.pool_held(server.pool_size, over, len(server.waiting))
            yield Deduction("pool-held", text)


def _flow_control(told: Sequence[Told], channels: Sequence[ChannelSnapshot]) -> Iterator[Deduction]:
    connected = {channel.number for channel in channels if channel.state == "ready"}
    for described, stream, _ in told:
        reads, writes = described.read, described.write
        if reads is None or writes is None or not (writes.unsent or writes.owner):
            continue
        if described.state != "open":
            continue
        if described.side == "client" and described.channel not in connected:
            continue  # it may wait for that
        if reads.owner is not None or reads.waiting or _stuck_for(writes) < MOMENT:
            continue
        if not is_receiving(stream.call()):
            yield Deduction(
                "flow-control", wording.unread(described, reads, writes), (described.number,)
            )


def _stuck_for(writes: DirectionSnapshot) -> float:
    """Return for how long a write has waited for gRPC; 0.0 if none does."""
    if writes.owner is not None:
        return (writes.owner.held_seconds or 0.0) if writes.owner.operation in _WRITES else 0.0
    return (writes.last_began_seconds or 0.0) if writes.unsent else 0.0


# Those that wait for gRPC alone. In next(request_iterator) it is gRPC that waits for the program.
_WRITES = ("write", "context.write", "yield", "send_response")


def _waits(streams: Sequence[Stream], sight: Sight) -> Iterator[Deduction]:
    """Yield who waits for the end of somebody inside a stream, and who waits in a circle."""
    inside: dict[Hashable, tuple[int, str, Owner]] = {}  # number and RPC of the stream
    waits: dict[Hashable, Wait] = {}  # by who waits
    if not sight.joins and not sight.waiters:
        return
    met = sight.inside_of_waits()
    numbers = _numbers(streams) if met else {}
    for direction in sorted(met, key=lambda one: _place(one, numbers)):
        holder, owner = sight.holder(direction), sight.owner(direction)
        assert owner is not None
        stream = direction.stream
        inside[holder.key] = numbers[id(stream)], stream.rpc, owner
        for waiter, _ in sight.waiters.get(id(direction), ()):
            waits[waiter.key] = Wait(waiter, holder)
    for wait in sight.joins:
        waits.setdefault(wait.waiter.key, wait)
        if wait.awaited.key in inside:
            number, rpc, owner = inside[wait.awaited.key]
            waiting, place = _called(wait.waiter), _place_of(wait.waiter, sight)
            text = wording.joined(waiting, place, owner, rpc, is_timed=wait.is_timed)
            yield Deduction("joined", text, (number,))
    for circle in _circles(waits):
        parties = [wait.waiter for wait in circle]
        numbered = {inside[party.key][0] for party in parties if party.key in inside}
        text = wording.circle(
            [_called(party) for party in parties],
            timed=[_called(wait.waiter) for wait in circle if wait.is_timed],
            has_tasks=any(party.kind == "task" for party in parties),
        )
        yield Deduction("circular-wait", text, tuple(sorted(numbered)))


def _place_of(party: Party, sight: Sight) -> Frame | None:
    """Return the line of the program at which `party`, a thread or a task, waits."""
    task = party.actual_task
    if task is None:
        stack = fold(sight.threads.get(party.ident, ()))
    else:
        stack = fold([*await_chain(task.get_coro())][::-1])
    return stack[-1] if stack else None


def _place(direction: Direction, numbers: Mapping[int, int]) -> tuple[int, int]:
    """Return the number of the stream of `direction`, and whether it is its first, second or another."""
    stream = direction.stream
    known = stream.read, stream.write
    return numbers[id(stream)], next((at for at, one in enumerate(known) if one is direction), 2)


def _numbers(streams: Iterable[Stream]) -> dict[int, int]:
    return {id(stream): number for number, stream in enumerate(streams, start=1)}


def _kept_alive(streams: Sequence[Stream], sight: Sight) -> Iterator[Deduction]:
    """Yield who keeps the process, if its main thread has ended and waits for others."""
    main = sight.threads.get(threading.main_thread().ident or 0, ())
    if any(map(waits_for_threads, main)):
        numbers = _numbers(streams)
        for text, direction in keepers(sight):
            yield Deduction("kept-alive", text, (numbers[id(direction.stream)],))


def keepers(sight: Sight) -> Iterator[tuple[str, Direction]]:
    """Yield in which directions threads are that a process waits for at its end, and the text about each."""
    for key, party in sight.holders.items():
        thread = threads_by_ident.get(party.ident)  # none has the 0 of tasks and greenlets
        if thread is None or thread is threading.main_thread():
            continue
        if is_waited_for(thread):
            owner, direction = sight.owners[key], sight.directions[key]
            text = wording.keeps_process(owner, direction.stream.rpc, is_daemon=thread.daemon)
            yield text, direction


def _called(party: Party) -> str:
    return f"{party.kind} {quoted(party.name)}"


def _circles(waits: dict[Hashable, Wait]) -> Iterator[list[Wait]]:
    """Yield the waits of each circle of parties that wait for one another, once."""
    done: set[Hashable] = set()
    for start in waits:
        path: dict[Hashable, Wait] = {}
        key = start
        while key in waits and key not in done and key not in path:
            path[key] = waits[key]
            key = waits[key].awaited.key
        if key in path:
            keys = list(path)
            yield [path[one] for one in keys[keys.index(key) :]]
        done.update(path)
