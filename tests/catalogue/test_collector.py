"""The collector rests while the guard looks at the process, and nowhere else."""

from __future__ import annotations

import gc
import os
import threading

import pytest
from inside import collector
from support.forking import in_child
from support.staging import PATIENCE

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


def test_it_rests_in_the_block() -> None:
    with collector.collector_at_rest():
        assert not gc.isenabled()
        with collector.collector_at_rest():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), collector.collector_at_rest():
        raise KeyError
    assert gc.isenabled()


def test_one_that_the_program_has_stopped_stays_so() -> None:
    gc.disable()
    try:
        with collector.collector_at_rest():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@posix
def test_a_child_that_another_thread_forks_meanwhile() -> None:
    """The thread that would have it go on is not there; in the parent it rests on."""
    begun, over = threading.Event(), threading.Event()

    def look() -> None:
        with collector.collector_at_rest():
            begun.set()
            assert over.wait(PATIENCE)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        assert begun.wait(PATIENCE)
        assert in_child(lambda: str(gc.isenabled())) == "True"
        assert not gc.isenabled()
    finally:
        over.set()
        thread.join(PATIENCE)
    assert gc.isenabled()


@posix
def test_a_child_that_is_forked_in_the_block() -> None:
    def after() -> str:
        within = gc.isenabled()
        rest.__exit__(None, None, None)
        return f"{within} {gc.isenabled()}"

    rest = collector.collector_at_rest()
    with collector.collector_at_rest():
        rest.__enter__()
        assert in_child(after) == "True True"
        rest.__exit__(None, None, None)
    assert gc.isenabled()
