"""What notes a unary handler, in the core in Python: an entry of its thread, and none after it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from inside import Mode, always, core_entries
from support.interrupts import Interrupt, code_of, sweep
from support.staging import in_thread


class Context:
    """A context of a sync server, whose RPC calls `callbacks` at its end."""

    def __init__(self, callbacks: object) -> None:
        self._state = SimpleNamespace(callbacks=callbacks)

    def end(self) -> list[Callable[[], None]]:
        """Do what gRPC does at the end of an RPC, but do not call yet what it returns."""
        callbacks, self._state.callbacks = self._state.callbacks, None
        assert isinstance(callbacks, list)
        return callbacks

    def end_and_call(self) -> None:
        for callback in self.end():
            callback()


class Records(core_entries.InFlight):
    """Records that log which RPC has ended while its handler runs."""

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)
        self.log: list[Any] = []

    def _follow_other(self, context: Any, entry: Any) -> None:
        self.log.append(context)

    def _rpc_ended(self, entry: Any) -> None:
        self.log.append((entry.rpc, entry.ended, entry.is_over()))

    def _watch(self) -> None:
        self.log.append("watch")

    def entry(self) -> Any:
        """Return the entry of the only thread."""
        (entry,) = self._by_thread.values()
        return entry

    def guarded(self, plain: Any, rpc: str = "/a/b", mode: Mode = Mode.RAISE) -> Any:
        return self.noting(plain, 1, rpc, always(mode))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Context be the usual class of contexts."""
    monkeypatch.setattr(core_entries, "SERVER_CONTEXT", Context)


def healthy(request: Any, context: Any) -> Any:
    return request


def test_the_entry_of_a_thread() -> None:
    """It is there while the handler runs, and serves the next RPC: nobody else has it."""
    records, seen = Records(), []

    def look(request: Any, context: Any) -> Any:
        entry = records.entry()
        assert context._state.callbacks == [entry]
        seen.append((entry, entry.rpc, entry.since, entry.ended, entry.is_over()))
        return request

    for rpc in ("/a/b", "/a/c"):
        context = Context([])
        assert records.guarded(look, rpc)(b"1", context) == b"1"
        assert records.entry().ended
        context.end_and_call()
    (first, *of_first), (second, *of_second) = seen
    assert first is second
    assert (of_first[0], of_second[0]) == ("/a/b", "/a/c")
    assert of_first[1] <= of_second[1]
    assert of_first[2:] == of_second[2:] == [False, False]
    assert records.log == []


def test_an_entry_that_grpc_still_has() -> None:
    """It will be called, and must tell nothing of another RPC: the next one has another entry."""
    records, first = Records(), Context([])
    records.guarded(healthy)(b"1", first)
    late = first.end()
    assert late == [records.entry()]

    def next_one(request: Any, context: Any) -> Any:
        assert records.entry() not in late
        for callback in late:
            callback()
        return records.entry().is_over()

    assert records.guarded(next_one, "/a/c")(b"1", Context([])) is False
    assert records.log == []


def test_a_callback_of_the_program() -> None:
    """It is called, whatever the guard takes off the list; the entry is then called as well."""
    records, called = Records(), []

    def adding(request: Any, context: Any) -> Any:
        context._state.callbacks.append(lambda: called.append(request))

    for request in (b"1", b"2"):
        context = Context([lambda: called.append(b"before")])
        records.guarded(adding)(request, context)
        entry = records.entry()
        callbacks = context.end()
        assert [callback is entry for callback in callbacks] == [False, True, False]
        for callback in callbacks:
            callback()
    assert called == [b"before", b"1", b"before", b"2"]
    assert records.log == []


def test_an_rpc_that_ends_before_its_handler() -> None:
    """It is told, and the entry, which somebody has by then, serves no other RPC."""
    records, entries = Records(), []

    def outliving(request: Any, context: Any) -> Any:
        entries.append(records.entry())
        for callback in context.end():
            callback()

    records.guarded(outliving)(b"1", Context([]))
    records.guarded(healthy, "/a/c")(b"1", Context([]))
    entry = records.entry()
    assert entry is not entries[0]
    assert (entries[0].rpc, entries[0].is_over(), entry.is_over()) == ("/a/b", True, False)
    assert records.log == [("/a/b", False, True)]


def test_an_rpc_that_is_over_before_its_handler() -> None:
    """It is told as the handler begins, and nobody else has the entry of the next one."""
    records, entries = Records(), []
    for _ in range(2):
        records.guarded(healthy)(b"1", Context(None))
        entries.append(records.entry())
    assert records.log == [("/a/b", False, True)] * 2
    assert entries[0] is not entries[1]


@pytest.mark.parametrize("context", [Context(7), Context(()), object(), None])
def test_an_unusual_context(context: object) -> None:
    """It has no list: its end is found out in another way."""
    records = Records()
    assert records.guarded(healthy)(b"1", context) == b"1"
    assert records.log == [context]
    assert records.entry().ended


def test_a_context_without_a_state() -> None:
    """A class that has passed for grpcio's own need not have what grpcio's has."""
    records, context = Records(), Context([])
    del context._state
    assert records.guarded(healthy)(b"1", context) == b"1"
    assert records.log == [context]


def test_a_handler_that_fails() -> None:
    """Its error is the program's, and the handler has ended."""
    records, error = Records(), KeyError("broken")

    def failing(request: Any, context: Any) -> Any:
        raise error

    with pytest.raises(KeyError) as raised:
        records.guarded(failing)(b"1", Context([]))
    assert raised.value is error
    assert records.entry().ended


def test_a_handler_that_calls_another() -> None:
    """Each has its entry, and the RPC of each is followed."""
    records = Records()
    inner = records.guarded(healthy, "/a/inner")

    def outer(request: Any, context: Any) -> Any:
        entry = records.entry()
        answer = inner(request, context)
        assert records.entry() is not entry
        assert (entry.rpc, entry.ended, records.entry().ended) == ("/a/b", False, True)
        return answer, len(context._state.callbacks)

    assert records.guarded(outer)(b"1", Context([])) == (b"1", 2)


def test_who_is_not_grpc() -> None:
    """A call with fewer arguments, and any in mode off, is passed on and noted nowhere."""
    records = Records()
    guarded = records.guarded(lambda *args: args)
    assert guarded(b"1") == (b"1",)
    assert records.guarded(healthy, mode=Mode.OFF)(b"1", Context([])) == b"1"
    assert records._by_thread == {}


def test_a_server_whose_threads_have_all_begun() -> None:
    """It is looked at, once as many threads have handled an RPC as its pool has."""
    records = Records(2)
    guarded = records.guarded(healthy)
    in_thread(guarded, b"1", Context([])).result()
    assert records.log == []
    guarded(b"1", Context([]))
    guarded(b"1", Context([]))
    assert records.log == ["watch"] * 2


def test_an_interrupt() -> None:
    """Wherever it arrives, the thread does not seem to run a handler."""
    records = Records(1)
    guarded = records.guarded(healthy)
    for injection in sweep(code_of(guarded, core_entries.InFlight._new_unary)):
        records._by_thread.clear()
        for _ in range(2):  # with a new entry, and with one that is free
            context = Context([])
            error = injection.run(lambda context=context: guarded(b"1", context))  # type: ignore[misc]
            assert error is None or type(error) is Interrupt
            assert all(entry.ended for entry in records._by_thread.values())
            context.end_and_call()
