"""What is left at the end of a program or a test: open channels and streams, parked threads.

Looked for only then, and only what is still alive and has not ended. What a program keeps on
purpose is legal: made at module level, or reachable from a module, from a running thread
or from what the caller says; see docs/lifecycle.md.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import sys
import time
from _thread import get_ident
from collections.abc import Callable, Iterable, Iterator
from types import FrameType, ModuleType

from . import _messages
from ._births import Birth
from ._findings import Owner
from ._guard import Direction, Stream
from ._lives import ChannelLife, lives
from ._orphans import orphans
from ._owners import inner_code, name_of_thread
from ._rule import Rule
from ._rules_of_life import PARKED_REQUEST_ITERATOR, UNCLOSED_CHANNEL, UNFINISHED_STREAM
from ._stacks import fold, frames_of_threads, outward
from ._sync.steps import taking_requests
from ._thresholds import thresholds
from ._violations import warn

logger = logging.getLogger("grpc_guard")

_STEP = 0.01  # seconds between two looks at a thread that has a moment left
_ADVANCE = inner_code(taking_requests, "advance")
# What holds what is in use, and not what is kept: an event loop, and the modules of the
# machinery and of threads, loops and tasks.
_NO_WAY = (ModuleType, asyncio.AbstractEventLoop)
_NO_KEEPERS = ("_asyncio", "asyncio", "grpc", "grpc_guard", "threading")


class Left:
    """A channel or stream that has not ended: its record, and the object that stands for it."""

    def __init__(self, rule: Rule, record: ChannelLife | Stream, obj: object) -> None:
        self.rule = rule
        self.record = record
        self.obj = obj

    @property
    def birth(self) -> Birth:
        assert self.record.birth is not None
        return self.record.birth

    @property
    def name(self) -> str:
        return self.record.rpc if isinstance(self.record, Stream) else self.record.target

    @property
    def group(self) -> tuple[object, ...]:
        place = self.birth.place
        line = None if place is None else (place[0].co_filename, self.birth.line)
        return (self.rule, self.name, self.record.api, line)


def look(
    is_ours: Callable[[Birth], bool] = lambda birth: True,
    keepers: Iterable[object] = (),
    threads: Callable[[int, FrameType], bool] = lambda ident, frame: True,
) -> None:
    """Warn of what is left of the births that `is_ours` accepts; never raises.

    What is reachable from `keepers`, or from a running thread (ident and innermost frame)
    that `threads` accepts, is kept on purpose, as is what a module can reach. A thread that
    is about to leave a request iterator is given a moment, only if there is one.
    """
    try:
        _look_for_parked(is_ours)
        left = list(_left(is_ours))
        if left:
            del left  # or it would keep them from the collector
            gc.collect()  # what is garbage has been given up, and grpcio ends it now
            _report(list(_left(is_ours)), [*keepers, *_held_by_threads(threads)])
    except Exception:
        logger.exception("what is left open goes unnoticed")


def _left(is_ours: Callable[[Birth], bool]) -> Iterator[Left]:
    for life in lives():
        if life.is_closed():
            continue
        if is_ours(life.birth) and not life.is_pooled:
            yield Left(UNCLOSED_CHANNEL, life, life.anchor())
        yield from _unfinished(life.sorted_out(), is_ours)
    yield from _unfinished(orphans(), is_ours)


def _unfinished(streams: Iterable[Stream], is_ours: Callable[[Birth], bool]) -> Iterator[Left]:
    for stream in streams:
        if stream.is_open() and stream.birth is not None and is_ours(stream.birth):
            yield Left(UNFINISHED_STREAM, stream, stream.call())


def _report(left: list[Left], keepers: list[object]) -> None:
    kept = _reachable({id(one.obj) for one in left}, keepers)
    groups: dict[tuple[object, ...], list[Left]] = {}
    leaked = set()
    for one in left:
        groups.setdefault(one.group, []).append(one)
        if not one.birth.in_module and id(one.obj) not in kept:
            leaked.add(one.group)
    operations = _last_operations({one.record for one in left if isinstance(one.record, Stream)})
    for group, members in groups.items():
        if group not in leaked and len(members) <= thresholds().kept:
            continue
        oldest = min(members, key=lambda one: one.birth.since)
        warn(
            oldest.rule,
            rpc=oldest.name,
            side="client",
            api=oldest.record.api,
            because=_messages.left_open(
                oldest.rule, oldest.birth, len(members), operations.get(oldest.record)
            ),
            caller=oldest.birth.owner(),
        )


def _last_operations(streams: set[Stream]) -> dict[object, tuple[str, float]]:
    """Return the last operation of each stream that had one, and when it began."""
    found: dict[object, tuple[str, float]] = {}
    for direction in gc.get_objects() if streams else ():
        # isinstance() would ask dead weak proxies
        if issubclass(type(direction), Direction) and direction.stream in streams:
            before = found.get(direction.stream, ("", 0.0))
            if direction.since > before[1]:
                kind = "read" if direction.rule == "concurrent-read" else "write"
                found[direction.stream] = kind, direction.since
    return found


# Who keeps what


def _reachable(wanted: set[int], keepers: list[object]) -> set[int]:
    """Return the ids among `wanted` that can be reached from a module or from `keepers`."""
    modules = [(name, module) for name, module in sys.modules.items() if type(module) is ModuleType]
    seen = {id(vars(module)) for _, module in modules}
    todo = [
        *keepers,
        *(vars(module) for name, module in modules if name.split(".")[0] not in _NO_KEEPERS),
    ]
    found = wanted & {id(obj) for obj in todo}
    while todo and found != wanted:
        referents, todo = gc.get_referents(*todo), []
        for obj in referents:
            if id(obj) not in seen:
                seen.add(id(obj))
                if id(obj) in wanted:
                    found.add(id(obj))
                if gc.is_tracked(obj) and not issubclass(type(obj), _NO_WAY):
                    todo.append(obj)
    return found


def _held_by_threads(threads: Callable[[int, FrameType], bool]) -> Iterator[object]:
    """Yield what the local variables of other threads hold."""
    for ident, frame in _other_threads():
        if threads(ident, frame):
            for outer in outward(frame):
                yield from outer.f_locals.values()


def _other_threads() -> Iterator[tuple[int, FrameType]]:
    frames = frames_of_threads()
    frames.pop(get_ident(), None)  # this very frame is in there, in a cycle
    yield from frames.items()


def is_of_a_pool(frame: FrameType) -> bool:
    """Tell whether the thread at `frame` belongs to a pool, which may live for long."""
    return any(
        outer.f_code.co_name == "_worker" and "futures" in outer.f_code.co_filename
        for outer in outward(frame)
    )


# Parked request iterators


def _look_for_parked(is_ours: Callable[[Birth], bool]) -> None:
    patience = thresholds().parked_iterator_seconds
    deadline = time.monotonic() + patience
    while any(_parked(is_ours)):
        if time.monotonic() >= deadline:
            break
        time.sleep(_STEP)
    for stream, thread in _parked(is_ours):
        assert stream.birth is not None
        warn(
            PARKED_REQUEST_ITERATOR,
            rpc=stream.rpc,
            side=stream.side,
            api=stream.api,
            because=_messages.is_parked(thread, stream.birth),
            caller=stream.birth.owner(),
            owner=thread,
        )


def _parked(is_ours: Callable[[Birth], bool]) -> Iterator[tuple[Stream, Owner]]:
    """Yield the RPCs that are over while gRPC's thread is in their request iterator."""
    for ident, frame in _other_threads():
        for outer in outward(frame):
            if outer.f_code is _ADVANCE:
                direction = outer.f_locals["direction"]
                stream = direction.stream
                if stream.birth is not None and is_ours(stream.birth) and stream.is_over():
                    inner = [*_until(frame, outer)]
                    held = max(0.0, time.monotonic() - direction.since)
                    kind, name = name_of_thread(ident)
                    yield stream, Owner(kind, name, "next(request_iterator)", held, fold(inner))
                break


def _until(frame: FrameType, last: FrameType) -> Iterator[FrameType]:
    return itertools.takewhile(lambda outer: outer is not last, outward(frame))
