"""Warnings: recorded and logged, never raised, with the place where something was made."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from inside import (
    UNCLOSED_CHANNEL,
    Api,
    NeverClosed,
    Side,
    Subject,
    Whose,
    findings_origins,
    findings_whose,
    ledger,
    warn,
)
from support.staging import in_thread, logged_by_us, settle

from grpc_guard import Finding, Owner

Found = Callable[[], list[Finding]]


MAKER = Owner("thread", "main", "insecure_channel", 3.0)


def warn_of_channel(caller: Owner | None = MAKER) -> None:
    subject = Subject("127.0.0.1:1", Side.CLIENT, Api.SYNC)
    warn(NeverClosed(MAKER, 0), subject, caller=caller)  # type: ignore[arg-type]


def test_warning(found: Found, caplog: pytest.LogCaptureFixture) -> None:
    """A warning is a finding of severity warning, and its report is in the log."""
    warn_of_channel()
    (finding,) = found()
    assert (finding.rule, finding.severity, finding.rpc) == (
        "unclosed-channel",
        "warning",
        "127.0.0.1:1",
    )
    assert finding.message == (
        "unclosed-channel: insecure_channel by thread 'main' on 127.0.0.1:1 (client, sync): "
        "never closed; made 3.0 s ago at an unknown place"
    )
    assert finding.remedy == UNCLOSED_CHANNEL.remedy
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.records[0].getMessage().startswith(finding.message)


def test_equal_warnings(found: Found, caplog: pytest.LogCaptureFixture) -> None:
    """Equal warnings are one finding with a count, and one line of the log."""
    for _ in range(3):
        warn_of_channel()
    assert [finding.count for finding in found()] == [3]
    assert len(caplog.records) == 1


def test_warning_that_fails(found: Found, caplog: pytest.LogCaptureFixture) -> None:
    """A warning that cannot be composed is said in the log; the program goes on."""
    warn_of_channel(caller=None)
    assert found() == []
    assert logged_by_us(caplog) == ["a warning of the rule unclosed-channel was lost"]


def test_warning_and_its_test(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning carries the id of the test that runs."""
    monkeypatch.setattr(ledger, "test", "test_a.py::test_b")
    warn_of_channel()
    assert [finding.test for finding in found()] == ["test_a.py::test_b"]


def test_origin_in_a_thread() -> None:
    """What a thread makes was made by it, at the line that made it."""
    note = findings_origins.note_origin
    origin = in_thread(lambda: note("insecure_channel"), name="maker").result()
    owner = origin.owner()
    assert (owner.kind, owner.name, owner.operation) == ("thread", "maker", "insecure_channel")
    assert owner.held_seconds is not None
    assert owner.site is not None
    assert owner.site.code.startswith("origin = in_thread(")
    assert str(origin) == f"at {__file__}:{owner.site.line}"
    assert not origin.in_module


def test_origin_in_a_task() -> None:
    """What a task makes was made by it."""

    async def main() -> Owner:
        current = asyncio.current_task()
        assert current is not None
        current.set_name("maker")
        return findings_origins.note_origin("read").owner()

    owner = asyncio.run(main())
    assert (owner.kind, owner.name, owner.operation) == ("task", "maker", "read")


def test_origin_in_a_foreign_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that Python did not start has a name all the same."""
    monkeypatch.delitem(threading._active, threading.get_ident())
    assert findings_origins.note_origin("next").name == f"thread {threading.get_ident()}"


def test_origin_in_a_thread_that_begins_in_the_guard() -> None:
    """Where there are fewer frames than are known to be the guard's, no line is named."""
    with ThreadPoolExecutor(1) as pool:
        origin = pool.submit(findings_origins.note_origin, "start", 99).result()
    assert (origin.operation, origin.place, origin.kind) == ("start", None, "thread")


def test_origin_at_module_level() -> None:
    """What is made outside of any function was made in a module."""
    names = {"note_origin": findings_origins.note_origin}
    exec(compile("made = note_origin('insecure_channel')", "app.py", "exec"), names)
    assert names["made"].in_module
    assert str(names["made"]) == "at app.py:1"


def test_origin_in_generated_code() -> None:
    """The line is the one that calls a stub, and none of the stub's own."""
    names = {"note_origin": findings_origins.note_origin}
    exec(
        compile("def call(): return note_origin('next')", "route_guide_pb2_grpc.py", "exec"), names
    )
    site = names["call"]().site
    assert site is not None
    assert site.code == 'site = names["call"]().site'


def test_origin_in_nobodys_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no line of the program is on the stack, that is said."""
    monkeypatch.setattr(findings_whose, "whose_file", lambda file: Whose.MACHINERY)
    monkeypatch.setattr(findings_whose, "kinds", {})
    monkeypatch.setattr(findings_origins, "kinds", findings_whose.kinds)
    origin = findings_origins.note_origin("next")
    assert (origin.place, origin.site, origin.owner().stack) == (None, None, ())
    assert str(origin) == "at an unknown place"
    assert not origin.in_module


def test_answers_about_code_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that compiles code without end does not fill the memory."""
    monkeypatch.setattr(findings_origins, "kinds", {})
    monkeypatch.setattr(findings_whose, "kinds", findings_origins.kinds)
    monkeypatch.setattr(findings_whose, "_KINDS_KEPT", 1)
    for name in ("one", "two"):
        exec(
            compile("note_origin('next')", f"{name}.py", "exec"),
            {"note_origin": findings_origins.note_origin},
        )
    assert len(findings_whose.kinds) == 1


def test_origin_in_a_task_without_a_line() -> None:
    """Where the task that runs shows no line of the program, that of its loop is not its line."""

    async def main() -> Owner:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[findings_origins.Origin] = loop.create_future()
        names = {"note_origin": findings_origins.note_origin, "made": made}
        exec(
            compile("def note(): made.set_result(note_origin('read'))", "a_pb2_grpc.py", "exec"),
            names,
        )
        loop.call_soon(names["note"])
        return (await made).owner()

    assert asyncio.run(main()).site is None


def test_party_that_is_a_task_by_itself() -> None:
    """The line is that of the task that awaits it; without one, none is named."""
    names: dict[str, Any] = {"note_party": findings_origins.note_party}
    code = "async def close(): return note_party('close')"
    exec(compile(code, "a_pb2_grpc.py", "exec"), names)

    async def main() -> tuple[findings_origins.Origin, findings_origins.Origin]:
        awaited = await asyncio.create_task(names["close"](), name="closer")  # awaited here
        alone = asyncio.create_task(names["close"]())
        await settle()
        return awaited, alone.result()

    awaited, alone = asyncio.run(main())
    owner = awaited.owner()
    assert (owner.kind, owner.name, owner.relation) == ("task", "closer", "awaited-by")
    assert owner.site == awaited.site
    assert owner.site is not None
    assert owner.site.code.endswith("# awaited here")
    assert str(awaited) == f"at {__file__}:{owner.site.line}"
    assert (alone.site, alone.owner().stack, str(alone)) == (None, (), "at an unknown place")
