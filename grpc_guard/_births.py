"""Where and when something was made, and by whom: noted when it is, put in words when asked.

A note holds code objects and line numbers, and no frame, thread or task: it keeps nothing
of the program alive, and costs a walk over the innermost frames.
"""

from __future__ import annotations

import asyncio
import linecache
import sys
import threading
from _thread import get_ident
from time import monotonic
from types import CodeType, FrameType

from ._findings import Frame, Owner
from ._stacks import is_machinery, outward

_GENERATED = "_pb2_grpc.py"  # a stub is a way to a call, and nobody's line
_is_passed_over: dict[CodeType, bool] = {}  # answers of _is_no_users(), which compares paths
_ANSWERS_KEPT = 4096


class Birth:
    """The line of the program at which something was made or done, by whom, and when.

    ``since`` is in seconds of time.monotonic(). ``place`` is None where no line of the
    program is on the stack. ``in_module`` tells that the line is outside of any function.
    """

    __slots__ = ("kind", "name", "operation", "place", "since")

    def __init__(self, operation: str, place: tuple[CodeType, int] | None) -> None:
        self.operation = operation
        self.place = place
        self.since = monotonic()
        task = _running_task()
        if task is not None:
            self.kind, self.name = "task", task.get_name()
        else:
            self.kind = "thread"
            ident = get_ident()
            thread = threading._active.get(ident)  # type: ignore[attr-defined]
            self.name = f"thread {ident}" if thread is None else thread.name

    @property
    def age(self) -> float:
        """Seconds since then."""
        return max(0.0, monotonic() - self.since)

    @property
    def in_module(self) -> bool:
        return self.place is not None and self.place[0].co_name == "<module>"

    @property
    def site(self) -> Frame | None:
        """The line, copied."""
        if self.place is None:
            return None
        code, line = self.place
        source = linecache.getline(code.co_filename, line).strip()
        return Frame(code.co_filename, line, code.co_name, source)

    def owner(self) -> Owner:
        """Return who did it as a party to a finding; ``held_seconds`` is how long ago."""
        site = self.site
        return Owner(
            self.kind, self.name, self.operation, self.age, () if site is None else (site,)
        )

    def __str__(self) -> str:
        """Return the place in words: ``at app.py:12``."""
        return "at an unknown place" if self.place is None else f"at {_place_in_words(self.place)}"


def _place_in_words(place: tuple[CodeType, int]) -> str:
    return f"{place[0].co_filename}:{place[1]}"


def _running_task() -> asyncio.Task[object] | None:
    loop = asyncio._get_running_loop()
    return None if loop is None else asyncio.current_task(loop)


def born(operation: str, depth: int = 1) -> Birth:
    """Return the note of what is done now by `operation`, at the innermost line of the program.

    `depth` is how many frames further out than this one the search begins.
    """
    return Birth(operation, _place(sys._getframe(depth)))


def _place(frame: FrameType) -> tuple[CodeType, int] | None:
    for outer in outward(frame):
        code = outer.f_code
        passed_over = _is_passed_over.get(code)
        if passed_over is None:
            passed_over = _is_no_users(code)
        if not passed_over:
            return code, outer.f_lineno or code.co_firstlineno
    return None


def _is_no_users(code: CodeType) -> bool:
    answer = is_machinery(code.co_filename) or code.co_filename.endswith(_GENERATED)
    if len(_is_passed_over) < _ANSWERS_KEPT:  # a program may compile code without end
        _is_passed_over[code] = answer
    return answer
