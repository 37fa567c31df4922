"""Stacks as people want to read them: copied, and without the frames of the machinery."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import linecache
import os
import threading
from _thread import get_ident
from collections.abc import Iterable, Iterator
from types import FrameType

import grpc
import wrapt

from .._catalogue.cpython import frames_of_threads
from .._catalogue.grpcio import COMPILED, sends_requests
from .records import Frame

_DEPTH = 40  # frames kept, those nearest to the user's line


def _folder(module_file: str) -> str:
    return os.path.dirname(os.path.abspath(module_file)) + os.sep


_GUARD = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO = os.path.join(_GUARD, "_cli", "demo") + os.sep  # the demo plays the part of a user
_GRPC = _folder(grpc.__file__)
_ASYNCIO = _folder(asyncio.__file__)
_LOOPS = (asyncio.events.__file__, asyncio.base_events.__file__, asyncio.runners.__file__)
_MACHINERY = (
    _GUARD,
    _GRPC,
    _ASYNCIO,
    _folder(wrapt.__file__),
    _folder(concurrent.futures.__file__),
    os.path.abspath(threading.__file__),
)


def is_machinery(file: str) -> bool:
    """Tell whether a frame in `file` is folded: grpc_guard, grpcio, asyncio, thread starters."""
    if file.endswith(COMPILED):
        return True
    return file.startswith(_MACHINERY) and not file.startswith(_DEMO)


def is_of_grpc(file: str) -> bool:
    """Tell whether `file` is grpcio's, or the guard's own, which takes its place."""
    return file.startswith((_GRPC, _GUARD)) and not file.startswith(_DEMO)


def runs_loop(file: str) -> bool:
    """Tell whether `file` drives an event loop: what lies outside it is no part of a task.

    The rest of asyncio runs within tasks: ``wait_for()`` in the caller's own, since Python 3.12.
    """
    return file in _LOOPS or f"{os.sep}uvloop{os.sep}" in file


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield `frame` and the frames that called it, innermost first."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def fold(frames: Iterable[FrameType]) -> tuple[Frame, ...]:
    """Copy `frames` (innermost first) into records, outermost first, without the machinery."""
    users = (frame for frame in frames if not is_machinery(frame.f_code.co_filename))
    kept = [copy_frame(frame) for frame in itertools.islice(users, _DEPTH)]
    return tuple(reversed(kept))


def line_in(lines: Iterable[tuple[str, int, str]]) -> tuple[Frame, ...]:
    """Return the first of `lines` (file, line, function) that is the program's, as a stack."""
    for file, line, function in lines:
        if not is_machinery(file):
            return (Frame(file, line, function, linecache.getline(file, line).strip()),)
    return ()


def copy_frame(frame: FrameType) -> Frame:
    file, line = frame.f_code.co_filename, frame.f_lineno or frame.f_code.co_firstlineno
    try:
        code = linecache.getline(file, line, frame.f_globals).strip()
    except ImportError:  # the interpreter is shutting down
        code = ""
    return Frame(file, line, frame.f_code.co_name, code)


def grpc_is_the_caller(frame: FrameType | None) -> bool:
    """Tell whether `frame` runs for gRPC's own sender, which advances a request iterator."""
    return any(
        caller.f_code.co_filename.startswith(_GRPC) and sends_requests(caller)
        for caller in outward(frame)
    )


def other_threads() -> Iterator[tuple[int, FrameType]]:
    frames = frames_of_threads()
    frames.pop(get_ident(), None)  # this very frame is in there, in a cycle
    yield from frames.items()
