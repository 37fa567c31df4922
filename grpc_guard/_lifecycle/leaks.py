"""What is left at the end of a program or a test: open channels and streams, parked threads.

Checked only then, and only for objects that are still alive and have not ended. An object that
a program keeps on purpose is legal: made at module level, or reachable from a module, from a
running thread or from an object that the caller names.
"""

from __future__ import annotations

import gc
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator
from itertools import compress
from types import FrameType, ModuleType

from .._catalogue.boundary import never_disturbs
from .._catalogue.clock import monotonic
from .._catalogue.cpython import is_worker
from .._catalogue.heap import held_by, instances, with_subclasses
from .._catalogue.leak import KEPT_ON_PURPOSE
from .._catalogue.nouns import Way
from .._catalogue.rule import Evidence
from .._catalogue.rules.unclosed_channel import NeverClosed, is_of_registry
from .._catalogue.rules.unfinished_stream import NeverEnded
from .._catalogue.thresholds import thresholds
from .._core.stream import Direction, Stream
from .._findings.origins import Origin
from .._findings.records import Owner
from .._findings.reporting import warn
from .._findings.stacks import other_threads, outward
from . import never_stopped
from .channelless import channelless_streams
from .channels import ChannelLife, lives
from .parked import look_for_parked

# These modules (the machinery, threads, loops, tasks) hold objects because they are in use: that
# does not mean that the program keeps them on purpose.
_RUNTIME_MODULES = ("_asyncio", "asyncio", "grpc", "grpc_guard", "threading")

# The young ones first: what a test has made is there, most times, and the old may be large.
_GENERATIONS = (1, 2)


class LeakCandidate:
    """A channel or stream that has not ended: its record, and the object that stands for it."""

    def __init__(self, record: ChannelLife | Stream, obj: object) -> None:
        self.record = record
        self.obj = obj
        self.is_reachable = False  # until it was checked

    @property
    def origin(self) -> Origin:
        assert self.record.origin is not None
        return self.record.origin

    @property
    def was_made_in_module(self) -> bool:
        return self.origin.in_module

    @property
    def group(self) -> tuple[object, ...]:
        place = self.origin.place
        line = None if place is None else (place[0].co_filename, self.origin.line)
        return (type(self.record), self.record.subject, line)

    def evidence(self, maker: Owner, others: int, last: tuple[Way, float] | None) -> Evidence:
        """Return the evidence for this one and `others` from its line; `last` is for streams."""
        if isinstance(self.record, Stream):
            return NeverEnded(maker, others, last)
        return NeverClosed(maker, others)


@never_disturbs("what is left open goes unnoticed")
def look(
    is_ours: Callable[[Origin], bool] = lambda origin: True,
    keepers: Iterable[object] = (),
    threads: Callable[[int, FrameType], bool] = lambda ident, frame: True,
) -> None:
    """Warn of what is left whose origin `is_ours` accepts; never raises.

    An object is kept on purpose if it is reachable from a module, from `keepers`, or from a
    running thread (ident and innermost frame) that `threads` accepts. If a thread is about to
    leave a request iterator, this waits for a moment.
    """
    look_for_parked(is_ours)
    for generation in _GENERATIONS:
        if next(_left(is_ours), None) is None:
            return
        never_stopped.let_collect()
        gc.collect(generation)  # the program has given up what is garbage, and grpcio ends it now
    _report(list(_left(is_ours)), [*keepers, *_held_by_threads(threads)])


def _left(is_ours: Callable[[Origin], bool]) -> Iterator[LeakCandidate]:
    for life in lives():
        if life.is_closed():
            continue
        if is_ours(life.origin) and not is_of_registry(life):
            yield LeakCandidate(life, life.anchor())
        yield from _unfinished(life.sorted_out(), is_ours)
    yield from _unfinished(channelless_streams(), is_ours)


def _unfinished(
    streams: Iterable[Stream], is_ours: Callable[[Origin], bool]
) -> Iterator[LeakCandidate]:
    for stream in streams:
        if stream.is_open() and stream.origin is not None and is_ours(stream.origin):
            yield LeakCandidate(stream, stream.call())


def _report(left: list[LeakCandidate], keepers: list[object]) -> None:
    kept = _reachable({id(one.obj) for one in left}, keepers)
    groups: dict[tuple[object, ...], list[LeakCandidate]] = {}
    leaked = set()
    for one in left:
        groups.setdefault(one.group, []).append(one)
        one.is_reachable = id(one.obj) in kept
        if not any(excuse(one) for excuse in KEPT_ON_PURPOSE):
            leaked.add(one.group)
    operations = _last_operations({one.record for one in left if isinstance(one.record, Stream)})
    for group, members in groups.items():
        if group not in leaked and len(members) <= thresholds().kept:
            continue
        oldest = min(members, key=lambda one: one.origin.since)
        maker = oldest.origin.owner()
        seen = oldest.evidence(maker, len(members) - 1, operations.get(oldest.record))
        warn(seen, oldest.record.subject, caller=maker)


def _last_operations(streams: set[Stream]) -> dict[object, tuple[Way, float]]:
    """Return the last operation of each stream that had one, and how many seconds ago it began."""
    found: dict[Stream, tuple[Way, float]] = {}
    for direction in instances(with_subclasses(Direction)) if streams else ():
        if direction.stream in streams:
            known = found.get(direction.stream)
            if direction.since > (0.0 if known is None else known[1]):
                found[direction.stream] = direction.way, direction.since
    now = monotonic()
    return {stream: (way, now - since) for stream, (way, since) in found.items()}


# What keeps what


def _reachable(wanted: set[int], keepers: list[object]) -> set[int]:
    """Return the ids among `wanted` that can be reached from a module or from `keepers`."""
    modules = [(name, module) for name, module in sys.modules.items() if type(module) is ModuleType]
    seen = {id(vars(module)) for _, module in modules}
    todo = [
        *keepers,
        *(vars(module) for name, module in modules if name.split(".")[0] not in _RUNTIME_MODULES),
    ]
    found = wanted & {id(obj) for obj in todo}
    while todo and found != wanted:
        referents, todo = held_by(*todo), []
        for obj in compress(referents, map(gc.is_tracked, referents)):  # most others are texts
            key = id(obj)
            if key not in seen:
                seen.add(key)
                todo.append(obj)
        del referents  # much memory, and it holds what the program gives up meanwhile
        found |= wanted & seen
        # By their ids: a metaclass may refuse to hash its classes.
        kinds = dict(zip(map(id, map(type, todo)), map(type, todo), strict=True))
        loops = {key for key, kind in kinds.items() if issubclass(kind, AbstractEventLoop)}
        if loops:
            todo = [obj for obj in todo if id(type(obj)) not in loops]
    return found


def _held_by_threads(threads: Callable[[int, FrameType], bool]) -> Iterator[object]:
    """Yield what the local variables of other threads hold."""
    for ident, frame in other_threads():
        if threads(ident, frame):
            for outer in outward(frame):
                yield from outer.f_locals.values()


def is_of_a_pool(frame: FrameType) -> bool:
    """Tell whether the thread at `frame` belongs to a pool, which may live long."""
    return any(is_worker(outer) for outer in outward(frame))
