"""The lives of channels: where each was made and closed, and which streams live on it.

The records are in a table whose key is the identity of grpcio's core channel, which a
multi-callable knows when an RPC starts. They hold the channel weakly, and only the records of its
streams. They vanish with the channel; channelless.py keeps the record of a stream that continues.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import weakref
from _thread import get_ident
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from .._catalogue import forks
from .._catalogue.boundary import never_disturbs, overlooked
from .._catalogue.clock import monotonic
from .._catalogue.grpcio import (
    anchor_and_core,
    is_core_closed,
    keeps_channels,
    state_of_core,
    target_of,
)
from .._catalogue.grpcio_channelz import Crowd, crowd_at
from .._catalogue.nouns import AIO, SYNC, Api, Side, Subject
from .._catalogue.rules.closed_channel import ChannelClosed
from .._catalogue.rules.stream_limit import Crowded, Queued, registry_keeps_the_limit
from .._catalogue.thresholds import thresholds
from .._core.stream import Stream
from .._findings.origins import Origin, note_origin, note_party
from .._findings.parties import name_of_thread
from .._findings.reporting import warn
from .._findings.stacks import outward
from .._findings.whose import PROGRAM, whose
from .channelless import keep_record
from .churn import look_at_churn
from .closed import note_closed
from .dropped import tell_dropped
from .inherited import aio_of_parent, uses_aio
from .unlisted import note_unlisted

_LOOKED_AT = 128  # records of streams on a channel below its limit, before ended ones are dropped
_MOMENT = 1.0  # seconds between two questions about one channel, which take a millisecond or two
_BY_HAND = "(a channel wrapped by hand)"  # its target is unknown

# In place of a generation: this process made the channel, while its parent's grpc.aio still
# existed in it.
DOOMED = -1

_lives: dict[int, ChannelLife] = {}
lives_by_core = _lives  # read by the compiled core


class _Anchor(weakref.ref[Any]):
    """A weak reference to what closes the core channel when it dies."""

    __slots__ = ("key",)

    key: int


class _Making(threading.local):
    """Whether the channel that this thread makes now is for a registry."""

    is_pooled = False
    is_limited = False


_making = _Making()


@contextlib.contextmanager
def pooled(*, is_limited: bool) -> Iterator[None]:
    """Make channels for a registry in the block: it closes them, and makes more if they fill.

    With `is_limited` it also keeps the streams on one below the limit.
    """
    _making.is_pooled, _making.is_limited = True, is_limited
    try:
        yield
    finally:
        _making.is_pooled = _making.is_limited = False


class ChannelLife:
    """One channel: its target, the parties that made and closed it, and its streams so far.

    ``streams`` may include some that have ended: they are dropped when there are many.
    """

    __slots__ = (
        "__weakref__",
        "anchor",
        "api",
        "asked_at",
        "closing",
        "crowded_at",
        "generation",
        "is_limited",
        "is_pooled",
        "next_report_at",
        "origin",
        "streams",
        "target",
        "thread",
    )

    def __init__(self, target: str, api: Api, origin: Origin, anchor: _Anchor) -> None:
        self.target = target
        self.api = api
        self.origin = origin
        self.thread = name_of_thread(get_ident())[1]  # the one that runs the channel's loop
        self.closing: Origin | None = None
        self.generation = forks.generation
        self.streams: deque[Stream] = deque()
        # It belongs to a registry, or to grpcio, which closes it itself.
        self.is_pooled = _making.is_pooled
        self.is_limited = registry_keeps_the_limit(_making)
        self.next_report_at = _LOOKED_AT if self.is_limited else thresholds().stream_limit
        self.crowded_at = 0  # the number of streams at which that is reported
        self.asked_at = 0.0  # when the core was asked: in seconds of time.monotonic()
        self.anchor = anchor

    @property
    def subject(self) -> Subject:
        """What a finding about this channel is about."""
        return Subject(self.target, Side.CLIENT, self.api)

    def is_closed(self) -> bool:
        """Tell whether the channel refuses new RPCs: grpcio knows best."""
        anchor = self.anchor()
        return anchor is None or is_core_closed(anchor)

    def state(self) -> str:
        """Return the state of the connection as gRPC names it, ``closed`` or ``unknown``."""
        anchor = self.anchor()
        if anchor is None or is_core_closed(anchor):
            return "closed"
        return state_of_core(anchor)

    def _count(self) -> None:
        live = len(self.sorted_out())
        if self.is_limited:
            self.next_report_at = max(_LOOKED_AT, 2 * live)
            return
        limit = self.next_report_at = thresholds().stream_limit
        if live < limit:
            self.crowded_at = 0
            return
        self.next_report_at = live + live // 4 + 1  # the number at which it is checked again
        crowd, maker = self._crowd(), self.origin.owner()
        caller = note_origin("start").owner()
        if crowd is not None and crowd.waiting:
            # With an owner: otherwise it would count as the same finding as the guess before it.
            warn(Queued(*crowd, maker), self.subject, caller=caller, owner=maker)
        elif live >= self.crowded_at:
            self.crowded_at = 2 * live  # the number at which it is reported again
            warn(Crowded(live, maker), self.subject, caller=caller)

    def _crowd(self) -> Crowd | None:
        """Ask the core how the RPCs to this target stand, unless it was asked a moment ago."""
        now = monotonic()
        if now - self.asked_at < _MOMENT:
            return None
        self.asked_at = now
        return crowd_at(self.target)

    def sorted_out(self) -> list[Stream]:
        """Drop the streams that are over, and return the others."""
        kept = []
        for _ in range(len(self.streams)):
            try:
                stream = self.streams.popleft()
            except IndexError:  # another thread sorts too
                break
            if not stream.is_over():
                kept.append(stream)
        self.streams.extend(kept)
        return kept


def made(
    channel: Any, api: str, operation: str, target: str = "", sharing_key: object = None
) -> None:
    """Note that `operation` made `channel`, if it is grpcio's own; a second note changes nothing.

    `target` is what it was made for. Channels of equal `sharing_key` could have been one.
    """
    try:
        anchor, core = anchor_and_core(channel)
        if anchor is None or _life_of_core(core) is not None:
            return
        reference = _Anchor(anchor, _forget)
        reference.key = id(core)
        life = ChannelLife(
            target or target_of(core) or _BY_HAND, Api(api), note_origin(operation), reference
        )
        is_kept = _is_kept_by_grpc(sys._getframe())
        life.is_pooled = life.is_pooled or is_kept
        _lives[id(core)] = life
        if life.api == AIO:
            if forks.generation and aio_of_parent() is not None:
                life.generation = DOOMED
            uses_aio(anchor, life)
        if sharing_key is not None and not is_kept:
            look_at_churn(life.subject, life.origin, sharing_key)
    except Exception as error:
        if not overlooked(error, "a channel goes unnoticed"):
            raise


def _is_kept_by_grpc(frame: FrameType) -> bool:
    """Tell whether the channel made at `frame` goes into grpcio's cache for one-shot calls.

    grpc.experimental.unary_unary() and the like have one, and so have generated static stubs.
    """
    inner = itertools.takewhile(lambda outer: whose(outer) is not PROGRAM, outward(frame))
    return any(keeps_channels(outer) for outer in inner)


def _forget(
    anchor: Any,
    lives: dict[int, ChannelLife] = _lives,
    keep_record: Callable[[Stream], None] = keep_record,
) -> None:
    # No globals: at the end of the interpreter those are gone before the channels.
    streams = lives.pop(anchor.key).streams
    for stream in streams.copy():
        keep_record(stream)
    streams.clear()  # they hold the record


def _life_of_core(core: object) -> ChannelLife | None:
    return _lives.get(id(core))


def taken_in(stream: Stream, multi_callable: Any) -> ChannelLife | None:
    """Note on which channel `multi_callable`, if grpcio's own, is about to start `stream`; return it."""
    # What life_of() does, without its frame.
    life = _lives.get(id(getattr(multi_callable, "_channel", None)))
    if life is not None:
        stream.channel = life
        streams = life.streams
        streams.append(stream)
        if len(streams) >= life.next_report_at:
            life._count()
    return life


def life_of(multi_callable: Any) -> ChannelLife | None:
    """Return the channel on which `multi_callable`, if grpcio's own, starts its RPCs."""
    # Read here and not in _catalogue/grpcio.py: each start of an RPC runs this.
    return _lives.get(id(getattr(multi_callable, "_channel", None)))


@never_disturbs("the use of a closed channel goes unnoticed")
def subscribing(channel: Any) -> None:
    """Act on a subscription to a closed sync `channel`, which never reports a state."""
    life = _life_of_core(anchor_and_core(channel)[1])
    if life is not None and life.is_closed():
        closing = None if life.closing is None else life.closing.owner()
        seen = ChannelClosed(life.origin.owner(), closing)
        warn(seen, life.subject, caller=note_origin("subscribe").owner(), owner=closing)


def closing(channel: Any) -> None:
    """Note that the caller is about to close `channel`."""
    try:
        life = _life_of_core(anchor_and_core(channel)[1])
        if life is not None and life.closing is None:
            life.closing = note_party("close")
            for stream in life.sorted_out() if life.api == SYNC else ():
                call = stream.call()
                if isinstance(call, BaseException):  # as grpcio's calls do, which raise themselves
                    note_closed(call, life)
            if life.api == AIO:
                are_many = len(life.streams) > thresholds().kept
                going_on = life.sorted_out()
                if are_many:
                    tell_dropped(going_on)
                for stream in going_on:  # for the grace period of close()
                    note_unlisted(stream)
            life.streams.clear()  # they end with it, and must not live as long as the object
    except Exception as error:
        if not overlooked(error, "the end of a channel goes unnoticed"):
            raise


def lives() -> Iterator[ChannelLife]:
    """Yield the channels of this process that exist, open or closed."""
    for life in tuple(_lives.values()):
        if life.generation in (forks.generation, DOOMED):
            yield life
