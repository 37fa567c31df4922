"""The collector rests while the guard looks at the process, and nowhere else."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import pytest
from inside import collector
from support.forking import in_child
from support.interrupts import Interrupt, code_of, sweep
from support.staging import PATIENCE

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX")


def rests() -> bool:
    return gc.get_threshold()[0] == collector.AT_REST


def test_it_rests_in_the_block() -> None:
    before = gc.get_threshold()
    with collector.collector_at_rest() as due:
        assert rests()
        assert due == before[0]
        with collector.collector_at_rest() as due:
            assert rests()
            assert due == 0
        assert rests()
    assert gc.get_threshold() == before
    with pytest.raises(KeyError), collector.collector_at_rest():
        raise KeyError
    assert gc.get_threshold() == before


def test_nothing_is_collected_in_the_block() -> None:
    """Not even with as many new objects as are in any other block."""
    collected: list[str] = []
    gc.callbacks.append(lambda phase, info: collected.append(phase))
    try:
        with collector.collector_at_rest():
            collected.clear()  # what was due before
            kept = [[] for _ in range(100_000)]
            assert collected == []
        kept.append([])
        kept += [[] for _ in range(100_000)]
        assert collected != []
    finally:
        gc.callbacks.pop()


def test_an_exception_that_arrives_anywhere() -> None:
    """A signal handler or another thread may raise at any time: the collector does not rest for ever."""
    before = gc.get_threshold()
    generator: Any = collector.collector_at_rest

    def look() -> None:
        with collector.collector_at_rest():
            pass

    manager = type(collector.collector_at_rest())
    codes = code_of(look, generator.__wrapped__, manager.__enter__, manager.__exit__)
    for injection in sweep(codes):
        came = type(injection.run(look))  # and its traceback, which holds the block, is gone
        assert gc.get_threshold() == before
        assert not injection.fired or came is Interrupt


def test_one_that_the_program_has_stopped_stays_so() -> None:
    """Before the block or within, by gc.disable() or by a threshold."""
    before = gc.get_threshold()
    gc.disable()
    try:
        with collector.collector_at_rest():
            pass
        assert not gc.isenabled()
        gc.enable()
        with collector.collector_at_rest():
            gc.disable()
        assert not gc.isenabled()
        assert gc.get_threshold() == before
        gc.set_threshold(0)
        with collector.collector_at_rest():
            pass
        assert gc.get_threshold()[0] == 0
    finally:
        gc.set_threshold(*before)
        gc.enable()


def test_a_threshold_that_the_program_sets_meanwhile() -> None:
    before = gc.get_threshold()
    try:
        with collector.collector_at_rest():
            gc.set_threshold(before[0] + 7)
        assert gc.get_threshold() == (before[0] + 7, *before[1:])
    finally:
        gc.set_threshold(*before)


def test_a_threshold_that_the_program_reads_in_the_block_and_puts_back() -> None:
    """The next block sets it as it was."""
    before = gc.get_threshold()
    try:
        with collector.collector_at_rest():
            read = gc.get_threshold()
        gc.set_threshold(*read)
        with collector.collector_at_rest(), collector.collector_at_rest():
            assert rests()
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*before)


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
        assert in_child(lambda: str(rests())) == "False"
        assert rests()
    finally:
        over.set()
        thread.join(PATIENCE)
    assert not rests()


@posix
def test_a_child_that_is_forked_in_the_block() -> None:
    def after() -> str:
        within = rests()
        rest.__exit__(None, None, None)
        return f"{within} {rests()}"

    rest = collector.collector_at_rest()
    with collector.collector_at_rest():
        rest.__enter__()
        assert in_child(after) == "False False"
        rest.__exit__(None, None, None)
    assert not rests()


def test_what_a_forked_child_does_first() -> None:
    """The collector works there at once, though the block never ends; if it ends, nothing changes."""
    before = gc.get_threshold()
    with collector.collector_at_rest():
        collector._go_on()  # what a child does first
        assert gc.get_threshold() == before
    assert gc.get_threshold() == before
