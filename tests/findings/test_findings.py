"""Findings: frozen records, counted in a ledger that a forked child does not inherit."""

from __future__ import annotations

import copy
import dataclasses
import logging
import os
import pickle
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from inside import CONCURRENT_READ, CONCURRENT_WRITE, Frame, Ledger, ledger
from support.forking import in_child
from support.staging import PATIENCE, wait

import grpc_guard
from grpc_guard import ConcurrencyError, Finding, Owner

HERE = Frame("app.py", 42, "consume", "message = next(call)")
THERE = Frame("app.py", 77, "drain", "next(call)")


def finding(**changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "rule": CONCURRENT_READ,
        "severity": "error",
        "rpc": "/test.Guard/Chat",
        "side": "client",
        "api": "sync",
        "message": "the first line",
        "remedy": "do it otherwise",
        "caller": Owner("thread", "b", "next", None, (HERE,)),
        "owner": Owner("thread", "a", "next", 1.0, (THERE,)),
    }
    return Finding(**{**fields, **changes})


# Records


@pytest.mark.parametrize("record", [finding(), finding().caller, HERE])
def test_setting_a_field(record: Any) -> None:
    """Records cannot be changed."""
    name = dataclasses.fields(record)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(record, name, "other")


def test_pickling_a_finding() -> None:
    """A finding survives pickling, its rule included."""
    copied = pickle.loads(pickle.dumps(finding()))
    assert copied == finding()
    assert copied.rule is CONCURRENT_READ


def test_site() -> None:
    """The site of a party is the innermost line of its stack, if there is one."""
    assert Owner("thread", "a", "next", None, (THERE, HERE)).site == HERE
    assert Owner("thread", "a", "next").site is None


def test_key_without_owner() -> None:
    """A finding without an owner has a key, too."""
    assert finding(owner=None).key != finding().key
    assert finding(owner=None).key == finding(owner=None).key


# The exception


def test_exception() -> None:
    """The exception is a RuntimeError with the report, and no RpcError that code retries."""
    error = ConcurrencyError(finding(), "the whole report")
    assert isinstance(error, RuntimeError)
    assert not isinstance(error, grpc.RpcError)
    assert str(error) == "the whole report"
    assert error.finding == finding()


def test_exception_without_report() -> None:
    """Without a report the exception prints the first line."""
    assert str(ConcurrencyError(finding())) == "the first line"


@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_copying_the_exception(copied: Callable[[Any], Any]) -> None:
    """The exception survives pickling and copying: it crosses process boundaries in pools."""
    error = copied(ConcurrencyError(finding(), "the whole report"))
    assert type(error) is ConcurrencyError
    assert str(error) == "the whole report"
    assert error.finding == finding()


# The ledger


def test_recording_equal_findings() -> None:
    """Findings of the same two lines are one entry with a count, told as it was first."""
    book = Ledger()
    assert book.record(finding()) == 1
    later = finding(message="another line", caller=Owner("thread", "z", "next", None, (HERE,)))
    assert book.record(later) == 2
    assert book.findings() == (dataclasses.replace(finding(), count=2),)


def test_recording_the_parties_the_other_way_round() -> None:
    """Which party came first is a matter of luck: it is the same finding."""
    book = Ledger()
    one = finding()
    assert one.owner is not None
    assert book.record(one) == 1
    turned = finding(
        caller=dataclasses.replace(one.owner, held_seconds=None),
        owner=dataclasses.replace(one.caller, held_seconds=2.0),
    )
    assert book.record(turned) == 2
    assert book.findings() == (dataclasses.replace(one, count=2),)


@pytest.mark.parametrize("party", ["caller", "owner"])
def test_recording_a_party_that_has_left(party: str) -> None:
    """A finding of which the other party has left is the same finding, before it and after."""
    whole = finding()
    left = dataclasses.replace(getattr(whole, party), held_seconds=None)
    for gone in (None, Owner("thread", "a", "next", 1.0)):
        half = finding(caller=left, owner=gone)
        book = Ledger()
        assert [book.record(one) for one in (whole, half, whole)] == [1, 2, 3]
        assert book.findings() == (dataclasses.replace(whole, count=3),)
        book.clear()
        assert [book.record(one) for one in (half, half, whole, half)] == [1, 2, 3, 4]
        assert book.findings() == (dataclasses.replace(whole, count=4),)
        book.forget(book.findings())
        assert [book.record(half), book.record(whole)] == [1, 2]


def test_recording_findings_without_a_line() -> None:
    """Without a known line, a party that has left is not taken for an earlier one."""
    book = Ledger()
    lineless = Owner("thread", "b", "next")
    assert book.record(finding(caller=lineless, owner=None)) == 1
    assert book.record(finding(caller=lineless)) == 1
    assert len(book.findings()) == 2


def test_recording_what_meets_in_a_helper() -> None:
    """Parties that meet in one line of a helper are distinguished by its callers."""

    def sent_by(name: str, line: int) -> Owner:
        outer = Frame("app.py", line, name, "_send(message)")
        return Owner("thread", name, "next", None, (outer, HERE))

    book = Ledger()
    ab = finding(caller=sent_by("a", 1), owner=sent_by("b", 2))
    cd = finding(caller=sent_by("c", 3), owner=sent_by("d", 4))
    ba = finding(caller=sent_by("b", 2), owner=sent_by("a", 1))
    aa = finding(caller=sent_by("a", 1), owner=sent_by("a", 1))
    assert [book.record(one) for one in (ab, cd, ba, aa)] == [1, 1, 2, 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": CONCURRENT_WRITE},
        {"rpc": "/test.Guard/Other"},
        {"side": "server"},
        {"test": "test_other"},
        {"caller": Owner("thread", "b", "next", None, (THERE,))},
        {"caller": Owner("thread", "b", "initial_metadata", None, (HERE,))},
    ],
)
def test_recording_different_findings(changes: dict[str, Any]) -> None:
    """Findings that differ in rule, RPC, side, test, operation or line are entries of their own."""
    book = Ledger()
    book.record(finding())
    assert book.record(finding(**changes)) == 1
    assert book.findings() == (finding(), finding(**changes))


def test_clearing() -> None:
    """A cleared ledger counts from one again."""
    book = Ledger()
    book.record(finding())
    book.clear()
    assert book.findings() == ()
    assert book.record(finding()) == 1


def test_forgetting() -> None:
    """Some findings can be forgotten, even those that are not there."""
    book = Ledger()
    other = finding(rpc="/test.Guard/Other")
    book.record(finding())
    book.record(other)
    book.forget([finding(), finding(side="server")])
    assert book.findings() == (other,)


def test_public_functions() -> None:
    """findings() and clear_findings() speak of the ledger of the process."""
    ledger.record(finding())
    assert grpc_guard.findings() == (finding(),)
    grpc_guard.clear_findings()
    assert grpc_guard.findings() == ()


def test_sinks() -> None:
    """A sink is told each finding with its count until it is removed."""
    book = Ledger()
    told: list[Finding] = []
    book.add_sink(told.append)
    book.record(finding())
    book.record(finding())
    book.remove_sink(told.append)
    book.record(finding())
    assert [each.count for each in told] == [1, 2]


def test_sparse_sinks() -> None:
    """A sparse sink gets a new finding, and again when its count has doubled."""
    book = Ledger()
    told: list[Finding] = []
    book.add_sink(told.append, sparse=True)
    for _ in range(9):
        book.record(finding())
    assert [each.count for each in told] == [1, 2, 4, 8]
    book.remove_sink(told.append)
    book.record(finding(rpc="/test.Guard/Other"))
    assert len(told) == 4


def test_sink_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """A sink that raises is logged and swallowed; the next one is told all the same."""
    book = Ledger()
    told: list[Finding] = []

    def broken(finding: Finding) -> None:
        raise OSError("no space left")

    book.add_sink(broken)
    book.add_sink(told.append)
    with caplog.at_level(logging.ERROR, "grpc_guard"):
        assert book.record(finding()) == 1
    assert caplog.messages == ["a reporter failed; the finding is kept"]
    assert told == [finding()]
    assert book.findings() == (finding(),)


def test_recording_inside_a_sink() -> None:
    """A sink may record: the ledger is not locked meanwhile, and its lock is reentrant."""
    book = Ledger()
    other = finding(rpc="/test.Guard/Other")

    def record_other(told: Finding) -> None:
        if told.rpc != other.rpc:
            book.record(other)

    book.add_sink(record_other)
    book.record(finding())
    assert book.findings() == (finding(), other)


def test_fork_of_the_ledger() -> None:
    """After a fork the ledger is empty, and unlocked even if it was locked."""
    book = Ledger()
    book.record(finding())
    book._mutex.acquire()
    book.after_fork()
    found: list[object] = []
    other_thread = threading.Thread(target=lambda: found.append(book.findings()))
    other_thread.start()
    other_thread.join(5)
    assert found == [()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
def test_fork() -> None:
    """A forked child starts clean, even if another thread held the ledger's lock."""
    ledger.record(finding())
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with ledger._mutex:
            held.set()
            wait(release)

    def look() -> str:
        return repr((ledger._mutex.acquire(blocking=False), grpc_guard.findings()))

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        wait(held)
        assert in_child(look) == "(True, ())"
    finally:
        release.set()
        holder.join(PATIENCE)
    assert grpc_guard.findings() == (finding(),)
    grpc_guard.clear_findings()
