"""Live streams as records, once a look has shown who is inside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .._catalogue.clock import monotonic
from .._catalogue.grpcio_rpcs import CORE_CALL, DONE, DONE_OF_CALLS
from .._catalogue.nouns import READ, SERVER, WRITE, Way
from .._core import which
from .._core.stream import AioDirection, Direction, Stream
from .._findings.origins import Origin
from .._findings.parties import name_of_thread
from .._findings.records import Frame, Owner
from .._findings.stacks import ends_in_program
from .._proxies.aio.calls import has_ended
from . import deductions
from . import inspection_pb2 as pb
from .deductions import Told
from .encoding import encoding_of, tag
from .lines import Lines
from .living import is_whole, others_among
from .messages import Answer
from .native import pause, slices_of
from .records import DirectionSnapshot, StreamSnapshot, new_direction, new_owner, new_stream
from .sending import is_sending, suspended
from .sight import Sight

_text = str.__str__  # of an enum a plain text
_OPEN, _OVER, _UNKNOWN = "open", "over", "unknown"


class Answered(NamedTuple):
    """The streams of an answer in their order, and how many a channel carries.

    ``told`` has those with a record, which something may follow from.
    """

    streams: list[Stream]
    told: list[Told]
    carried: dict[int, int]


class Teller:
    """Puts streams into records; `channels` are the numbers of channels, by identity."""

    def __init__(
        self,
        streams: list[Stream],
        sight: Sight,
        origins: Origins,
        channels: Mapping[int, int],
    ) -> None:
        self._streams, self._sight, self._origins, self._channels = (
            streams,
            sight,
            origins,
            channels,
        )
        self._begun = sight.handled.begun()
        self._present = monotonic()
        self._others = others_among(streams, sight.strays)
        self._lines_now: dict[int, Frame | None] = {}  # of threads

    def told(self) -> Iterator[Told]:
        """Yield the record of each stream, the oldest first."""
        number, compiled = 0, which.compiled()
        look = None if compiled is None else self._look()
        for some in slices_of(self._in_order()):
            if compiled is None:
                told = list(self._some(some, number))
            else:
                told = compiled.tell_streams(look, some, number)
            number += len(told)
            yield from told

    def answered(self, answer: Answer) -> Answered:
        """Put the same into an `answer`, by the compiled core."""
        compiled: Any = which.compiled()
        found, look = Answered([], [], {}), self._look()
        field = pb.Snapshot.DESCRIPTOR.fields_by_name["streams"]
        encoding = encoding_of(StreamSnapshot, field.message_type)
        known = look, encoding, tag(field.number)
        streams = self._in_order(answer.copies)
        pause(streams)
        tables = found.carried, found.streams, found.told, answer.streams, answer.copies
        for some in slices_of(range(len(streams)), answer.together):
            compiled.answer_streams(*known, streams, some[0], len(some), *tables)
        return found

    def _in_order(self, copies: Any = None) -> list[Stream]:
        """Return the streams, the oldest first; `copies` may have some, for the compiled core."""
        streams, compiled = self._streams, which.compiled()
        if compiled is not None:
            compiled.oldest_first(streams, self._begun, self._present, copies)
            return streams
        began = [self._since(stream) for stream in streams]
        noted = [self._present if since is None else since for since in began]
        streams[:] = [streams[at] for at in sorted(range(len(streams)), key=noted.__getitem__)]
        return streams

    def _since(self, stream: Stream) -> float | None:
        origin = stream.origin
        return self._begun.since(id(stream)) if origin is None else origin.since

    def _some(self, streams: Iterable[Stream], number: int) -> Iterator[Told]:
        for stream in streams:
            told = self.one(stream, number + 1)
            if told is not None:
                number += 1
                yield told

    def _look(self) -> tuple[object, ...]:
        """Return what the compiled core has to know of this look: see telling.c."""
        sight = self._sight
        return (
            *(self.one, self.described, self._origins.stack, _text),
            *(new_stream, new_direction, new_owner),
            *(self._begun, self._others, sight.owners, sight.crowd, self._channels),
            *(AioDirection, SERVER, READ, _OPEN, _OVER, _UNKNOWN),
            *(self._present, sight.time, bool(sight.waiters), bool(sight.sending)),
            *(has_ended, DONE_OF_CALLS, CORE_CALL, DONE, deductions.MOMENT),
        )

    def one(self, stream: Stream, number: int) -> Told | None:
        """Return the record of a stream, the stream, and its directions; None if it is over.

        But not if somebody is still inside.
        """
        key, origin = id(stream), stream.origin
        mine: tuple[Direction | None, ...]
        mine = read, write = stream.read, stream.write
        if key in self._others:
            mine = *mine, *self._others[key]
            read, write = self._chosen(READ, mine), self._chosen(WRITE, mine)
        state = _state(stream)
        if state == _OVER and not any(self._sight.owner(one) is not None for one in mine):
            return None
        since, present = self._since(stream), self._present
        described = new_stream(
            number,
            stream.rpc,
            _text(stream.side),
            _text(stream.api),
            _text(stream.mode),
            state,
            None if since is None else present - since,
            None if origin is None else self._origins.owner(origin, present),
            self._channels.get(id(stream.channel)),
            self.described(read),
            self.described(write),
        )
        return described, stream, mine

    def _chosen(self, way: Way, directions: Iterable[Direction | None]) -> Direction | None:
        """Return the one of `directions` that goes this `way`; None without one.

        Around a call with interceptors there are two to read from: somebody is in either.
        """
        going = [one for one in directions if one is not None and is_whole(one) and one.way is way]
        inside = [one for one in going if self._sight.sees(one)]
        return next(reversed(inside), next(iter(going), None))

    def described(self, direction: Direction | None) -> DirectionSnapshot | None:
        """Return the record of `direction`; None without one that is made to its end."""
        sight = self._sight
        owner = sight.owner(direction)
        if direction is None or (owner is None and not is_whole(direction)):
            return None
        waiting = sight.waiting(direction) if sight.waiters else ()
        is_written = direction.way is WRITE
        unsent = is_written and is_sending(direction.stream, sight)
        if owner is not None:
            return new_direction(owner, waiting, owner.held_seconds, None, unsent, None, None)
        began = direction.since
        last = suspended_at = last_at = None
        if not direction.is_free and began <= sight.time:
            owner = sight.owner_not_seen(direction)
        elif began and isinstance(direction.owner, int):
            last = "{} {!r}".format(*name_of_thread(direction.owner))
            last_at = self._line_now(direction.owner)
        ago = max(0.0, self._present - began) if began else None
        if owner is not None:
            ago = owner.held_seconds
        elif is_written:
            for frame in suspended(direction):
                suspended_at = next(reversed(sight.lines.stack([frame])), None)
        return new_direction(owner, waiting, ago, last, unsent, suspended_at, last_at)

    def _line_now(self, ident: int) -> Frame | None:
        """Return the program's line at which a thread is, inside a stream or not."""
        if ident not in self._lines_now:
            stack = self._sight.lines.stack(self._sight.threads.get(ident, ()))
            self._lines_now[ident] = stack[-1] if ends_in_program(stack) else None
        return self._lines_now[ident]


def _state(stream: Stream) -> str:
    if stream.is_over():
        return _OVER
    return _OPEN if stream.side == SERVER or stream.is_followed() else _UNKNOWN


class Origins:
    """Puts origins into records; that of one place is looked up once."""

    def __init__(self, lines: Lines) -> None:
        self.stack = lines.at

    def owner(self, origin: Origin, present: float) -> Owner:
        """Return who did it, and how long ago."""
        stack = () if origin.place is None else self.stack(origin.place)
        ago = max(0.0, present - origin.since)
        return new_owner(origin.kind, origin.name, origin.operation, ago, stack, "inside", None)
