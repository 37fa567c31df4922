"""Stacks: copied, folded, and cut where a task ends."""

from __future__ import annotations

import gc
import os
import sys
import threading
from types import FrameType

import grpc
import grpc.aio
import pytest
from inside import Frame, collector, findings_stacks, frames_of_threads


def here() -> FrameType:
    return sys._getframe(1)


def frame_in(file: str, function: str = "function") -> FrameType:
    """Return a frame of a function that seems to stand in `file`."""
    names = {"sys": sys}
    exec(compile(f"def {function}(): return sys._getframe()", file, "exec"), names)
    frame = names[function]()  # type: ignore[operator]
    assert isinstance(frame, FrameType)
    return frame


def test_outward() -> None:
    """A stack is walked from the inside out, and no stack is an empty one."""

    def inner() -> list[str]:
        return [frame.f_code.co_name for frame in findings_stacks.outward(sys._getframe())]

    assert inner()[:2] == ["inner", "test_outward"]
    assert list(findings_stacks.outward(None)) == []


def test_fold() -> None:
    """Folded, a stack is outermost first and has the frames of the program alone."""
    machinery = frame_in(grpc.__file__)
    program = frame_in("app.py", "consume")
    folded = findings_stacks.fold([machinery, here(), program, machinery])
    assert [frame.function for frame in folded] == ["consume", "test_fold"]


def test_fold_of_a_deep_stack() -> None:
    """From a deep stack, the frames nearest to the user's line are kept."""
    frames = [frame_in("app.py", f"level_{level}") for level in range(60)]
    folded = findings_stacks.fold(frames)
    assert [frame.function for frame in folded] == [f"level_{n}" for n in reversed(range(40))]


def test_copy_of_a_frame() -> None:
    """A frame is copied with its source line."""
    frame = here()
    line = frame.f_lineno + 1
    assert findings_stacks.copy_frame(frame) == Frame(
        __file__, line, "test_copy_of_a_frame", "assert findings_stacks.copy_frame(frame) == Frame("
    )


def test_copy_of_a_frame_without_source() -> None:
    """A frame whose source cannot be read has an empty line."""
    copied = findings_stacks.copy_frame(frame_in("no such file.py"))
    assert copied == Frame("no such file.py", 1, "function", "")


def test_copy_of_a_frame_at_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter shuts down no source can be read: the line is empty."""

    def unreadable(*args: object) -> str:
        raise ImportError("sys.meta_path is None, Python is likely shutting down")

    monkeypatch.setattr(findings_stacks.linecache, "getline", unreadable)
    assert findings_stacks.copy_frame(frame_in("app.py")).code == ""


def test_grpc_as_caller() -> None:
    """gRPC's own sender is known by the function that advances request iterators."""
    folder = os.path.dirname(grpc.__file__)
    sender = frame_in(os.path.join(folder, "_channel.py"), "_consume_request_iterator")
    assert findings_stacks.grpc_is_the_caller(sender)
    assert not findings_stacks.grpc_is_the_caller(frame_in(os.path.join(folder, "_channel.py")))
    assert not findings_stacks.grpc_is_the_caller(frame_in("app.py", "_consume_request_iterator"))
    assert not findings_stacks.grpc_is_the_caller(None)


# The frames of all threads


def test_looking_at_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is collected while CPython 3.11 makes the frames: a thread that starts then hangs."""
    collects = []
    current_frames = sys._current_frames

    def spy() -> dict[int, FrameType]:
        collects.append(gc.get_threshold()[0] != collector.AT_REST)
        return current_frames()

    monkeypatch.setattr(sys, "_current_frames", spy)
    assert threading.get_ident() in frames_of_threads()
    assert collects == [sys.version_info[:2] != (3, 11)]
    assert gc.get_threshold()[0] != collector.AT_REST


def test_looking_at_threads_where_nothing_is_collected() -> None:
    """A program that has switched the collector off finds it off afterwards."""
    gc.disable()
    try:
        assert threading.get_ident() in frames_of_threads()
        assert not gc.isenabled()
    finally:
        gc.enable()
