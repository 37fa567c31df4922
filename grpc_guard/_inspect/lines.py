"""Which frames say something, and their lines: copied once, thousands of parties stand at one line.

Code is known by its identity here: code objects hash their whole content each time. The frame of a
coroutine is made when somebody asks for it, so that is done for those alone which say something.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Sequence
from types import FrameType
from typing import Any

from .._catalogue.grpcio_rpcs import SENDING_CODES, awaits_core
from .._core.operations import IDENTITIES
from .._core.records import AioOperation
from .._findings.origins import Place, line_of, site_of
from .._findings.records import Frame
from .._findings.stacks import copy_frame
from .._findings.waiters import CHAIN_LENGTH, Reader, frame_of, reader_of
from .._findings.whose import LIBRARY, PROGRAM, whose
from .threads import places_of

_DEPTH = 40  # frames kept of a stack, those nearest to the line of the program

# What a piece of code is, in bits.
OF_PROGRAM, OF_LIBRARY, OPERATION, SENDING = 1, 2, 4, 8
CORE = 16  # what it awaits is in grpcio's core: the chain says no more
_SHOWN = OF_PROGRAM | OF_LIBRARY

Stacks = dict[tuple[Frame, ...], tuple[Frame, ...]]  # each by itself


class Lines:
    """What one look knows of the code that it has met.

    A stack that is among the `known` ones of the last look is that very one in this look, too.
    """

    known: Stacks = {}

    def __init__(self) -> None:
        # A compiled operation has no code of its own: its type stands for that.
        self._kinds: dict[int, int] = {id(None): 0, id(AioOperation): OPERATION}
        self._frames: dict[tuple[int, int], Frame] = {}
        self._stacks: dict[tuple[int, ...], tuple[Frame, ...]] = {}
        self.same: Stacks = {}
        self._origins: dict[tuple[int, int], tuple[Frame, ...]] = {}
        # By the identity of types: the hash of a type may be code of the program.
        self._readers: dict[int, Reader] = {
            id(AioOperation): (type, operator.attrgetter("cr_await"))
        }
        self._kept: list[object] = []  # must not give their identity away during the look

    def shown(self, awaitable: Any, ends: Collection[int]) -> tuple[int, list[Any]]:
        """Return those links of a chain of awaits that say something, outermost first.

        And what they are, in bits: CORE alone if the first link awaits grpcio's core. The chain ends at an awaitable whose type has its identity
        in `ends`.
        """
        kinds, shown = 0, []
        for depth in range(CHAIN_LENGTH):
            read = self.reader(awaitable, ends)
            if read is None:
                break
            code_of, awaited_by = read
            kind = self.kind(code_of(awaitable), awaitable)
            if kind & CORE:
                kinds = CORE if depth == 0 else kinds
                break
            if kind:
                kinds |= kind
                shown.append(awaitable)
            awaitable = awaited_by(awaitable)
        return kinds, shown

    def reader(self, awaitable: Any, ends: Collection[int]) -> Reader | None:
        """Return what reads the links of a chain that are of this type; None where chains end."""
        of = type(awaitable)
        read = self._readers.get(id(of))
        if read is None and awaitable is not None and id(of) not in ends:
            read = self._readers[id(of)] = reader_of(awaitable)
            self._kept.append(of)
        return read

    def kind(self, code: Any, awaitable: Any) -> int:
        """Return what the `code` of a link is, in bits."""
        kind = self._kinds.get(id(code))
        return self._kind_of(code, frame_of(awaitable)) if kind is None else kind

    def _kind_of(self, code: Any, frame: FrameType | None) -> int:
        kind = 0
        if frame is not None:
            known = whose(frame)
            kind = OF_PROGRAM * (known is PROGRAM) + OF_LIBRARY * (known is LIBRARY)
        if code is not None and awaits_core(code):
            kind = CORE
        kind |= OPERATION * (id(code) in IDENTITIES) + SENDING * (id(code) in SENDING_CODES)
        self._kept.append(code)
        self._kinds[id(code)] = kind
        return kind

    def stack(self, frames: Sequence[FrameType]) -> tuple[Frame, ...]:
        """Return `frames` (innermost first) as stacks.fold() does."""
        key = places_of(frames)
        stack = self._stacks.get(key)
        if stack is None:
            stack = self._stacks[key] = self._folded(frames, key)
        return stack

    def _folded(self, frames: Sequence[FrameType], places: tuple[int, ...]) -> tuple[Frame, ...]:
        kept: list[tuple[FrameType, int, int]] = []
        site = -1
        for frame, code, instruction in zip(frames, places[::2], places[1::2], strict=True):
            kind = self._kinds.get(code)
            if kind is None:
                kind = self._kind_of(frame.f_code, frame)
            if kind & _SHOWN:
                if site < 0 and kind & OF_PROGRAM:
                    site = len(kept)
                kept.append((frame, code, instruction))
        site = max(site, 0)
        stack = tuple(self._copied(*place) for place in kept[site : site + _DEPTH])[::-1]
        return self.same.setdefault(stack, self.known.get(stack, stack))

    def _copied(self, frame: FrameType, code: int, instruction: int) -> Frame:
        if (code, instruction) not in self._frames:
            line = line_of((frame.f_code, instruction))
            self._frames[code, instruction] = copy_frame(frame, line)
        return self._frames[code, instruction]

    def at(self, place: Place) -> tuple[Frame, ...]:
        """Return the one line at `place` as a stack."""
        key = id(place[0]), place[1]
        if key not in self._origins:
            self._kept.append(place)
            self._origins[key] = (site_of(place),)
        return self._origins[key]
