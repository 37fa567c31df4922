"""Stacks for people to read: copied, and without the frames of the machinery."""

from __future__ import annotations

import functools
import linecache
import traceback
from _thread import get_ident
from collections.abc import Iterable, Iterator, Sequence
from types import CodeType, FrameType

from .._catalogue.boundary import is_injected
from .._catalogue.cpython import frames_of_threads
from .._catalogue.grpcio import sends_requests
from .records import Frame
from .whose import LIBRARY, MACHINERY, PROGRAM, is_of_grpc, whose, whose_file

_DEPTH = 40  # frames kept, those nearest to the user's line


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield `frame` and the frames that called it, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def fold(frames: Iterable[FrameType]) -> tuple[Frame, ...]:
    """Copy `frames` (innermost first) into records, outermost first, without the machinery.

    The last is the program's line: what a library does further in on its behalf is left out,
    unless there is no line of the program at all.
    """
    kept = [frame for frame in frames if whose(frame) in (PROGRAM, LIBRARY)]
    lines = (index for index, frame in enumerate(kept) if whose(frame) is PROGRAM)
    site = next(lines, 0)
    return tuple(copy_frame(frame) for frame in reversed(kept[site : site + _DEPTH]))


def ends_in_program(stack: Sequence[Frame]) -> bool:
    """Tell whether a folded `stack` ends at a line of the program, and is not a library's alone."""
    return bool(stack) and whose_file(stack[-1].file) is PROGRAM


def line_in(lines: Iterable[tuple[str, int, str]]) -> tuple[Frame, ...]:
    """Return the first of `lines` (file, line, function) that is the program's, as a stack.

    It is a library's line only if none is the program's.
    """
    found = [(whose_file(file), file, line, function) for file, line, function in lines]
    for accepted in (PROGRAM, LIBRARY):
        for whose_it_is, file, line, function in found:
            if whose_it_is is accepted:
                return (Frame(file, line, function, linecache.getline(file, line).strip()),)
    return ()


def lines_of(error: BaseException) -> tuple[Frame, ...]:
    """Return the lines in the traceback of `error`, folded as fold() does."""
    trace = reversed(list(traceback.walk_tb(error.__traceback__)))
    kept = [(frame, line) for frame, line in trace if whose(frame) in (PROGRAM, LIBRARY)]
    lines = (index for index, (frame, _) in enumerate(kept) if whose(frame) is PROGRAM)
    site = next(lines, 0)
    return tuple(copy_frame(*one) for one in reversed(kept[site : site + _DEPTH]))


def copy_frame(frame: FrameType, line: int | None = None) -> Frame:
    file, line = frame.f_code.co_filename, line or frame.f_lineno or frame.f_code.co_firstlineno
    try:
        code = linecache.getline(file, line, frame.f_globals).strip()
    except Exception as error:  # the module's own loader; or the interpreter is shutting down
        if is_injected(error):
            raise
        code = ""
    return Frame(file, line, frame.f_code.co_name, code)


def frame_of_function(function: object) -> Frame | None:
    """Return the first line of a `function` of the program; None if it was not written in Python."""
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return None
    source = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return Frame(code.co_filename, code.co_firstlineno, code.co_name, source)


def grpc_is_the_caller(frame: FrameType | None) -> bool:
    """Tell whether `frame` runs for gRPC's own sender, which advances a request iterator."""
    return any(sends_requests(caller) and is_of_grpc(caller) for caller in outward(frame))


def others_among(frames: Iterable[FrameType]) -> bool:
    """Tell whether code of others than gRPC and the guard is among `frames`."""
    return any(whose(frame) is not MACHINERY for frame in frames)


def other_threads() -> Iterator[tuple[int, FrameType]]:
    frames = frames_of_threads()
    frames.pop(get_ident(), None)  # this very frame is in there, in a cycle
    yield from frames.items()
