"""Noting where work begins: beside others who patch the same, and where there is no room for it."""

from __future__ import annotations

import concurrent.futures.thread
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from inside import note_where_work_begins, process_noting, serves, stop_noting, waiters


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore Python's own functions after a test."""
    for name in ("start", "_set_ident"):
        monkeypatch.setattr(threading.Thread, name, vars(threading.Thread)[name])
    depth = sys.get_coroutine_origin_tracking_depth()
    yield
    stop_noting()
    sys.set_coroutine_origin_tracking_depth(depth)


def test_a_patch_that_came_later() -> None:
    """A patch of other code on top stays, and the rest is removed."""
    plain = vars(concurrent.futures.thread._WorkItem)["__init__"]
    note_where_work_begins()
    ours = threading.Thread.start

    def foreign(self: Any) -> None:
        ours(self)

    threading.Thread.start = foreign  # type: ignore[method-assign]
    stop_noting()
    assert vars(threading.Thread)["start"] is foreign
    assert vars(concurrent.futures.thread._WorkItem)["__init__"] is plain


@pytest.mark.parametrize(("depth", "meanwhile"), [(20, 20), (2, process_noting._DEPTH)])
def test_who_tracks_already(depth: int, meanwhile: int) -> None:
    """A program that has asyncio note the makers of coroutines gets its depth back, and never less."""
    sys.set_coroutine_origin_tracking_depth(depth)
    note_where_work_begins()
    assert sys.get_coroutine_origin_tracking_depth() == meanwhile
    stop_noting()
    assert sys.get_coroutine_origin_tracking_depth() == depth


def test_work_without_room_for_a_note() -> None:
    """It begins as ever, and nothing is noted of it."""

    class Narrow:
        __slots__ = ("args", "fn", "future", "kwargs", "task")

    note_where_work_begins()
    work = Narrow()
    make: Any = concurrent.futures.thread._WorkItem.__init__
    make(work, *(None for _ in range(make.__wrapped__.__code__.co_argcount - 1)))
    assert work.future is None
    assert waiters.stack_noted(work) == ()


def test_a_new_thread() -> None:
    """What a thread does first, done here: coroutines note their makers in it too."""
    first = process_noting._in_new_thread(lambda thread, value: (thread, value))
    sys.set_coroutine_origin_tracking_depth(0)
    assert first("thread", value=3) == ("thread", 3)
    assert sys.get_coroutine_origin_tracking_depth() == process_noting._DEPTH


def test_a_thread_that_waits_for_work() -> None:
    """Nothing of the guard stays on its stack: an idle worker is in no code of gRPC, nor of the guard."""
    note_where_work_begins()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ident = pool.submit(threading.get_ident).result()
        frame = sys._current_frames()[ident]
        assert not serves(frame)
        depth = pool.submit(sys.get_coroutine_origin_tracking_depth).result()
    assert depth == process_noting._DEPTH
