"""Where and when something was made, and by whom: noted at that moment, worded on demand.

A note holds code objects and indexes of instructions, and no frame, thread or task: it keeps
nothing of the program alive, and costs a walk over the innermost frames.
"""

from __future__ import annotations

import asyncio
import linecache
import sys
from _thread import get_ident
from types import CodeType, FrameType
from typing import Any

from .._catalogue.boundary import is_injected, is_own
from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import NAMELESS, current_task, running_loop
from .ledger import ledger
from .parties import frames_of_task, name_of_thread, task_at
from .records import Frame, Owner
from .stacks import fold, outward
from .whose import LIBRARY, LOOP, PROGRAM, decide, kinds, whose, whose_file

Place = tuple[CodeType, int]  # and the index of an instruction in it


def line_of(place: Place) -> int:
    """Return the number of the line at `place`."""
    code, instruction = place
    lines = (line for start, end, line in code.co_lines() if start <= instruction < end)
    return next(lines, None) or code.co_firstlineno


def site_of(place: Place) -> Frame:
    """Return the line at `place`, copied."""
    code, line = place[0], line_of(place)
    source = linecache.getline(code.co_filename, line).strip()
    return Frame(code.co_filename, line, code.co_name, source)


def is_of_program(place: Place) -> bool:
    """Tell whether `place` is in the program, and not in machinery or a generated stub."""
    file = place[0].co_filename
    return (kinds[file] if file in kinds else whose_file(file)) is PROGRAM


class Origin:
    """The line of the program at which something was made or done, the party, and the time.

    ``since`` is in seconds of time.monotonic(). ``place`` is None if no line of the program is
    on the stack, else the code and the index of its instruction: computing the line number
    takes longer than all the rest. ``in_module`` tells that the line is
    outside of any function, ``test_attempt`` during which test it was, ``on_loop`` that an event loop ran on the thread.
    """

    __slots__ = ("kind", "name", "on_loop", "operation", "place", "since", "test_attempt")

    def __init__(self, operation: str, place: Place | None) -> None:
        self.operation = operation
        self.place = place
        self.since = monotonic()
        self.test_attempt = ledger.test_attempt
        loop = running_loop()
        self.on_loop = loop is not None
        task = None if loop is None else current_task(loop)
        if task is not None:
            self.kind = "task"
            try:  # as name_in_task(), without its frame: each start of an RPC runs this
                name: object = task.get_name()
            except Exception as error:
                if is_injected(error):
                    raise
                name = None
            self.name = name if isinstance(name, str) else NAMELESS
        else:
            self.kind, self.name = name_of_thread(get_ident())

    @property
    def age(self) -> float:
        """Seconds since then."""
        return max(0.0, monotonic() - self.since)

    @property
    def in_module(self) -> bool:
        return self.place is not None and self.place[0].co_name == "<module>"

    @property
    def line(self) -> int:
        """The number of the line, if there is a place."""
        assert self.place is not None
        return line_of(self.place)

    @property
    def site(self) -> Frame | None:
        """The line, copied."""
        return None if self.place is None else site_of(self.place)

    def owner(self) -> Owner:
        """Return who did it as a party to a finding; ``held_seconds`` is how long ago."""
        site = self.site
        return Owner(
            self.kind, self.name, self.operation, self.age, () if site is None else (site,)
        )

    def __str__(self) -> str:
        """Return the place in words: ``at app.py:12``."""
        if self.place is None:
            return "at an unknown place"
        return f"at {self.place[0].co_filename}:{self.line}"


class FarOrigin(Origin):
    """The same of a task that has no line of the program itself: the stack is found elsewhere."""

    __slots__ = ("relation", "stack")

    def __init__(self, operation: str, task: asyncio.Task[Any], frames: list[FrameType]) -> None:
        super().__init__(operation, None)
        party = task_at(task, operation, None, fold(frames))
        self.stack, self.relation = party.stack, party.relation

    @property
    def site(self) -> Frame | None:
        return self.stack[-1] if self.stack else None

    def owner(self) -> Owner:
        return Owner(self.kind, self.name, self.operation, self.age, self.stack, self.relation)

    def __str__(self) -> str:
        return super().__str__() if self.site is None else f"at {self.site.file}:{self.site.line}"


def note_party(operation: str) -> Origin:
    """Note the same as note_origin() of an operation that may be a task by itself.

    Then the line is that of the party that awaits the task, as in other reports. It also holds
    while an exception is thrown into the task, when frames are missing from the stack.
    """
    loop = running_loop()
    task = None if loop is None else current_task(loop)
    if task is None:
        return note_origin(operation, 2)
    frames = frames_of_task(task, sys._getframe(1))
    for frame in frames:
        if whose(frame) is PROGRAM:
            return Origin(operation, (frame.f_code, frame.f_lasti))
    return FarOrigin(operation, task, frames)


def note_origin(operation: str, depth: int = 1) -> Origin:
    """Note who does `operation` now, and where: at the innermost line of the program.

    It is a library's line only if no line of the program itself is on the stack. The innermost
    `depth` callers are known to be the guard's and are skipped: making a frame for each is what
    takes the time.
    """
    frame: FrameType | None
    try:
        frame = sys._getframe(depth)
    except ValueError as error:
        if not is_own(error):
            raise
        frame = None  # the guard's own are the first of their thread
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        # By file and not by code object, which hashes its whole content each time.
        kind = kinds[file] if file in kinds else decide(frame)
        if kind is PROGRAM:
            return Origin(operation, (code, frame.f_lasti))
        if kind is LOOP:
            break
        frame = frame.f_back
    return Origin(operation, _place_in_library(sys._getframe()))


def _place_in_library(frame: FrameType) -> tuple[CodeType, int] | None:
    for outer in outward(frame):
        kind = whose(outer)
        if kind is LIBRARY:
            return outer.f_code, outer.f_lasti
        if kind is LOOP:
            break
    return None
