"""The records of a snapshot: frozen, and keeping nothing of the program alive.

Names, lines and numbers; no message, metadata, credential, argument or environment variable.
Times are in seconds, counted back from the moment of the snapshot.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from .._core import which
from .._findings.records import Finding, Frame, Owner

SERVICE = "grpc_guard.inspection.v1.Inspection"  # of inspection.proto
TAKE_SNAPSHOT = f"/{SERVICE}/TakeSnapshot"


@dataclasses.dataclass(frozen=True, slots=True)
class DirectionSnapshot:
    """One direction of a stream: the party inside, or the last one, and the parties that wait.

    ``owner`` is inside at this moment. Without one, the last operation began
    ``last_began_seconds`` ago (None: there was none yet), in the thread ``last`` (None: in a task,
    which the guard does not note). ``last_at`` is the program's line at which that thread is now.
    Python reuses the idents of threads, so ``last`` may be a later thread. The guard does not note
    when an operation ended. ``unsent`` tells that gRPC has a message that it cannot send yet;
    ``suspended_at`` is the line at which the generator of the messages is suspended.
    """

    owner: Owner | None = None
    waiting: tuple[Owner, ...] = ()
    last_began_seconds: float | None = None
    last: str | None = None
    unsent: bool = False
    suspended_at: Frame | None = None
    last_at: Frame | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """One live stream: its RPC, its origin, and both of its directions.

    ``number`` is its place in this snapshot, from 1, the oldest first; ``channel`` the number of
    its channel, if that is known. ``state`` is ``open``, or ``over`` for a stream with a party that
    is still inside, or ``unknown``. ``age_seconds`` and ``origin`` (the party and the line that
    started it) are None if they are not known. ``read`` and ``write`` are None for a direction that
    the guard does not check: one with a single message, or a list of requests.
    """

    number: int
    rpc: str
    side: str
    api: str
    mode: str
    state: str
    age_seconds: float | None
    origin: Owner | None
    channel: int | None
    read: DirectionSnapshot | None
    write: DirectionSnapshot | None


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelSnapshot:
    """One channel: ``state`` is that of its connection, as gRPC names it, or ``closed``."""

    number: int
    target: str
    api: str
    state: str
    streams: int
    origin: Owner


@dataclasses.dataclass(frozen=True, slots=True)
class HandlerSnapshot:
    """One RPC that a server handles now, and where its handler is.

    In ``handler``, ``held_seconds`` is None where the guard has not seen it begin.
    ``over`` tells that the RPC has ended (the client is gone, its deadline has passed), and is
    None where that is not known.
    """

    rpc: str
    handler: Owner
    over: bool | None


@dataclasses.dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """One server: its threads, the RPCs that are handled, and those that wait for a thread.

    ``pool_size`` is None where the server has no pool of threads that tells its size. ``waiting``
    has the name of each RPC that waits.
    """

    number: int
    api: str
    pool_size: int | None
    handlers: tuple[HandlerSnapshot, ...]
    waiting: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ThreadSnapshot:
    """A thread that is in no stream and handles no RPC, and the line of the program at which it is.

    ``task`` is the task that an event loop runs in it at this moment: no other of this loop goes on
    until that is back. Threads with no line of the program on their stack are left out, as are event
    loops that wait.
    """

    name: str
    task: str | None
    stack: tuple[Frame, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """A task that is in no stream and handles no RPC, and the line of the program at which it waits.

    Tasks of event loops with guarded streams or servers. In a process of more than 2,000 tasks they
    are left out.
    """

    name: str
    stack: tuple[Frame, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Deduction:
    """A certain deduction from the state of this process.

    ``kind`` is ``flow-control``, ``joined``, ``circular-wait``, ``kept-alive`` (the main thread
    has ended) or ``pool-held``; ``streams`` are the numbers of the streams that it is about.
    """

    kind: str
    text: str
    streams: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What the process was doing at ``time`` (UTC, ISO 8601).

    ``program`` is its main module, ``findings`` are the latest ones of it.
    """

    pid: int
    program: str
    time: str
    mode: str
    streams: tuple[StreamSnapshot, ...]
    channels: tuple[ChannelSnapshot, ...]
    servers: tuple[ServerSnapshot, ...]
    findings: tuple[Finding, ...]
    deductions: tuple[Deduction, ...]
    threads: tuple[ThreadSnapshot, ...] = ()
    tasks: tuple[TaskSnapshot, ...] = ()


# Making them


R = TypeVar("R")


def maker(kind: type[R]) -> Callable[..., R]:
    """Return what makes records of `kind` from the values of all fields, in their order.

    A frozen dataclass sets each field by a call, which takes five times as long.
    """
    compiled = which.compiled()
    if compiled is None:
        return maker_in_python(kind)
    made: Callable[..., R] = compiled.Maker(kind, _names(kind))
    return made


def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def maker_in_python(kind: type[R]) -> Callable[..., R]:
    """Return the same without the compiled core.

    It makes each as one of a twin that is not frozen. It is compiled, as the methods of dataclasses are.
    """
    names = _names(kind)
    twin = type(kind.__name__, (), {"__slots__": names})
    lines = [f"def make({', '.join(names)}):", " record = _new(_twin)"]
    lines += [f" record.{name} = {name}" for name in names]
    lines += [" record.__class__ = _kind", " return record"]
    found: dict[str, Any] = {
        "__name__": __name__,
        "_new": object.__new__,
        "_twin": twin,
        "_kind": kind,
    }
    exec(compile("\n".join(lines), __file__, "exec"), found)
    made: Callable[..., R] = found["make"]
    return made


new_owner = maker(Owner)
new_direction = maker(DirectionSnapshot)
new_stream = maker(StreamSnapshot)
new_handler = maker(HandlerSnapshot)
