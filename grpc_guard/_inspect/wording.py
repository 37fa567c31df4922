"""The wording of a snapshot: what is deduced, and the whole of it as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from .._catalogue.modes import Mode
from .._catalogue.words import count, duration, escaped, party, printable, quoted
from .._findings.records import Frame, Owner
from .._findings.wording import RELATION, folded
from .records import (
    ChannelSnapshot,
    Deduction,
    DirectionSnapshot,
    HandlerSnapshot,
    ServerSnapshot,
    Snapshot,
    StreamSnapshot,
)

# Deductions


def unread(stream: StreamSnapshot, reads: DirectionSnapshot, writes: DirectionSnapshot) -> str:
    """Return what follows from a write of `stream` that waits while nobody reads."""
    if reads.last_began_seconds is None:
        nobody = "nobody has ever read"
    else:
        nobody = f"nobody is reading (the last read began {duration(reads.last_began_seconds)} ago)"
    if writes.owner is not None:
        write = f"the {writes.owner.operation} of {party(writes.owner)} has waited for "
        write += f"{duration(writes.owner.held_seconds)} {at(writes.owner.site)}"
    else:
        write = "a message cannot be sent that gRPC began to ask for "
        write += f"{duration(writes.last_began_seconds)} ago"
    return (
        f"{nobody} from {escaped(stream.rpc)} ({stream.side}, {stream.api}) while {write}; the peer has "
        "to read before that goes on, and may wait until this side reads"
    )


def joined(waiting: str, place: Frame | None, owner: Owner, rpc: str, *, is_timed: bool) -> str:
    """Return what follows from a party that waits, at `place`, for the end of one inside a stream."""
    held = duration(owner.held_seconds)
    waits = "waits, with a time-out," if is_timed else "waits"
    line = "" if place is None else f"; {waiting} is {at(place)}"
    return (
        f"{waiting} {waits} for the end of {party(owner)}, which has been in {owner.operation} of "
        f"{escaped(rpc)} for {held}{line}"
    )


def circle(parties: Sequence[str], *, timed: Sequence[str], has_tasks: bool) -> str:
    """Return what follows from parties that wait for each other, some of them for a time only."""
    chain = ", which waits for ".join([*parties[1:], parties[0]])
    text = f"{parties[0]} waits for {chain}: none of them can go on"
    if timed:
        text += f" before the time-out of {' or '.join(timed)}"
    return f"{text} unless a task is cancelled, as by a time-out" if has_tasks else text


def pool_held(size: int, over: int, waiting: int) -> str:
    """Return what follows from a server without a free thread."""
    who = "the only thread of the pool is" if size == 1 else f"all {size} threads of the pool are"
    ended = ", by an RPC that is over" if size == 1 else f", {over} of them by RPCs that are over"
    return f"{who} held{ended if over else ''}; {count(waiting, 'RPC waits', 'RPCs wait')}"


def keeps_process(owner: Owner, rpc: str, *, is_daemon: bool) -> str:
    """Return the text about a thread that keeps a process whose main thread has ended."""
    kind = "of a pool" if is_daemon else "no daemon"
    return (
        f"the main thread has ended, and the process waits for {party(owner)}, which is {kind} "
        f"and has been in {owner.operation} of {escaped(rpc)} for {duration(owner.held_seconds)} "
        f"{at(owner.site)}"
    )


# The whole


def dump(snapshot: Snapshot, most: int | None = None) -> str:
    """Return all that `snapshot` says as text, deductions first, then who waits longest.

    Of at most `most` streams, if that is given, and as many places of threads and tasks.
    """
    return "".join(f"{printable(line)}\n" for line in _lines(snapshot, most))


def _lines(snapshot: Snapshot, most: int | None) -> Iterator[str]:
    yield headline(snapshot)
    if snapshot.mode == Mode.OFF and not (snapshot.streams or snapshot.servers):
        yield from ("", UNGUARDED)
    if snapshot.deductions:
        yield from ("", "for certain:")
        yield from (f"  {deduction(one)}" for one in snapshot.deductions)
    for stream in by_holding(snapshot.streams)[:most]:
        yield ""
        yield from _of_stream(stream)
    if most is not None and len(snapshot.streams) > most:
        yield from ("", f"and {len(snapshot.streams) - most} more streams")
    for server in snapshot.servers:
        yield ""
        yield from _of_server(server)
    if snapshot.channels:
        yield ""
        yield from map(_of_channel, snapshot.channels)
    if snapshot.threads:
        yield from ("", "threads in no stream:")
        yield from _together(
            ((one.name, _runs(one.task), one.stack) for one in snapshot.threads), most
        )
    if snapshot.tasks:
        yield from ("", "tasks in no stream:")
        yield from _together(((one.name, "", one.stack) for one in snapshot.tasks), most)
    if snapshot.findings:
        yield from ("", "findings:")
        yield from (f"  {finding.message}  x{finding.count}" for finding in snapshot.findings)


def deduction(one: Deduction) -> str:
    """Return one line on what has been deduced: the kind, the streams, and what it is."""
    of = "".join(f" [stream {number}]" for number in one.streams)
    return f"{one.kind}:{of} {one.text}"


UNGUARDED = (
    "nothing is guarded in this process now, so nothing is known of its streams: call "
    "grpc_guard.enable() or wrap() there, or start it under grpc-guard run"
)


def headline(snapshot: Snapshot) -> str:
    """Return one line on the process: what it is, and how much lives in it."""
    counted = ", ".join(
        [
            count(len(snapshot.streams), "live stream"),
            count(len(snapshot.channels), "channel"),
            count(len(snapshot.servers), "server"),
            count(len(snapshot.findings), "finding"),
        ]
    )
    mode = snapshot.mode
    if mode == Mode.OFF and snapshot.streams:  # wrap() alone has guarded them
        mode += f", of these streams {' and '.join(sorted({one.mode for one in snapshot.streams}))}"
    return f"process {snapshot.pid} ({snapshot.program}) at {snapshot.time}, mode {mode}: {counted}"


def by_holding(streams: Iterable[StreamSnapshot]) -> list[StreamSnapshot]:
    """Return `streams`, the one whose direction has been held longest first."""
    return sorted(streams, key=lambda stream: (-longest(stream), stream.number))


def longest(stream: StreamSnapshot) -> float:
    """Return for how long a direction of `stream` has been held, in seconds; -1 if none is."""
    held = [
        one.owner.held_seconds
        for one in (stream.read, stream.write)
        if one is not None and one.owner is not None
    ]
    return max((seconds for seconds in held if seconds is not None), default=-1.0)


def _of_stream(stream: StreamSnapshot) -> Iterator[str]:
    channel = "" if stream.channel is None else f", channel {stream.channel}"
    yield (
        f"stream {stream.number}: {escaped(stream.rpc)} ({stream.side}, {stream.api}), {stream.state}, "
        f"{_age(stream.age_seconds)}{channel}"
    )
    if stream.origin is not None:
        yield f"  started by {party(stream.origin)} {at(stream.origin.site)}"
    if stream.read is not None:
        yield from _of_direction("read", stream.read)
    if stream.write is not None:
        yield from _of_direction("write", stream.write)


def _of_direction(name: str, direction: DirectionSnapshot) -> Iterator[str]:
    yield f"  {name + ':':7}{state_of(direction)}"
    if direction.owner is not None:
        yield from _stack(direction.owner.stack)
    else:
        what, line = "its generator is suspended", direction.suspended_at
        if line is None:
            what, line = "that thread is now", direction.last_at
        if line is not None:
            yield f"    {what} {at(line)}"
            if line.code:
                yield f"      {line.code}"
    for waiter in direction.waiting:
        yield f"    {party(waiter)} waits for its turn to {waiter.operation}"
        yield from _stack(waiter.stack)


def state_of(direction: DirectionSnapshot) -> str:
    """Return who is inside `direction`, or since when nobody has begun anything in it."""
    if direction.owner is not None:
        owner = direction.owner
        held = f"for {duration(owner.held_seconds)}{RELATION.get(owner.relation, '')}"
        return f"{party(owner)} in {owner.operation} {held}"
    text = "nobody, never used"
    if direction.last_began_seconds is not None:
        by = "" if direction.last is None else f", by {direction.last}"
        text = f"nobody; the last began {duration(direction.last_began_seconds)} ago{by}"
    return f"{text}; gRPC has a message that it cannot send yet" if direction.unsent else text


def _of_server(server: ServerSnapshot) -> Iterator[str]:
    size = "" if server.pool_size is None else f" of {count(server.pool_size, 'thread')}"
    yield (
        f"server {server.number} ({server.api}){size}: {count(len(server.handlers), 'RPC')} handled now, "
        f"{len(server.waiting)} waiting"
    )
    for handler in server.handlers:
        yield f"  {in_flight(handler)}"
        yield from _stack(handler.handler.stack)
    yield from (f"  {escaped(rpc)} waits for a thread" for rpc in server.waiting)


def in_flight(handler: HandlerSnapshot) -> str:
    """Return one line on an RPC that a server handles."""
    held = handler.handler.held_seconds
    since = "" if held is None else f" for {duration(held)}"
    over = ", though the RPC is over" if handler.over else ""
    return f"{escaped(handler.rpc)} in {party(handler.handler)}{since}{over}"


def _of_channel(channel: ChannelSnapshot) -> str:
    return (
        f"channel {channel.number}: {escaped(channel.target)} ({channel.api}), {channel.state}, "
        f"{count(channel.streams, 'live stream')}, "
        f"made {duration(channel.origin.held_seconds)} ago {at(channel.origin.site)}"
    )


_NAMED = 3  # parties at the same line


def _runs(task: str | None) -> str:
    return "" if task is None else f", whose event loop runs task {quoted(task)}"


def _together(
    parties: Iterable[tuple[str, str, tuple[Frame, ...]]], most: int | None
) -> Iterator[str]:
    """Yield the lines on parties, each by its name, what it does, and where: together at the same line."""
    names: dict[tuple[str, tuple[Frame, ...]], list[str]] = {}
    for name, does, stack in parties:
        names.setdefault((does, stack), []).append(name)
    for (does, stack), some in itertools.islice(names.items(), most):
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        yield f"  {', '.join(map(quoted, some[:_NAMED]))}{more}{does}"
        yield from _stack(stack)
    if most is not None and len(names) > most:
        yield f"  and {count(sum(map(len, list(names.values())[most:])), 'other')}"


def _age(seconds: float | None) -> str:
    return "age unknown" if seconds is None else f"age {duration(seconds)}"


def at(frame: Frame | None) -> str:
    """Return where `frame` is."""
    return "at an unknown place" if frame is None else f"at {frame.file}:{frame.line}"


def _stack(stack: Sequence[Frame]) -> Iterator[str]:
    if not stack:
        yield "    (no line of the program on its stack)"
    for frame in folded(stack):
        if not isinstance(frame, Frame):
            yield f"    {frame}"
            continue
        yield f'    File "{frame.file}", line {frame.line}, in {frame.function}'
        if frame.code:
            yield f"      {frame.code}"
