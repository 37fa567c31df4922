"""blocked-loop: a sync read that waits on a thread whose event loop runs."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from inside import blocking, catalogue_thresholds, watching
from support.staging import (
    aio_channel,
    aio_server,
    logged_by_us,
    path,
    sync_channel,
    sync_server,
    within,
)

from grpc_guard import Finding, guarded

Found = Callable[[], list[Finding]]

METHODS = {
    "Numbers": grpc.unary_stream_rpc_method_handler(lambda _, context: iter([b"1", b"2"])),
    "Same": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
    "Count": grpc.stream_unary_rpc_method_handler(
        lambda requests, context: b"%d" % sum(1 for _ in requests)
    ),
}
WHOLE_RPCS: dict[str, Callable[[Any], Any]] = {
    "unary_unary": lambda channel: channel.unary_unary(path("Same"))(b"1"),
    "with_call": lambda channel: channel.unary_unary(path("Same")).with_call(b"1")[0],
    "stream_unary": lambda channel: channel.stream_unary(path("Count"))(iter([b""])),
}


@pytest.fixture
def numbers() -> Iterator[Callable[[], Any]]:
    """Return a function that starts an RPC with two responses."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:
        yield lambda: channel.unary_stream(path("Numbers"))(b"")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every read count as one that waits for long."""
    monkeypatch.setattr(
        catalogue_thresholds, "_current", catalogue_thresholds.Thresholds(blocked_loop_seconds=0.0)
    )


async def test_reading_on_a_loop(numbers: Callable[[], Any], found: Found) -> None:
    """A read that blocks a running loop is reported, with its line and the tasks that wait."""
    waiting = asyncio.create_task(asyncio.sleep(0))
    assert list(numbers()) == [b"1", b"2"]
    (finding,) = found()
    assert (finding.rule, finding.count, finding.api) == ("blocked-loop", 3, "sync")
    assert (finding.caller.kind, finding.caller.name) == ("task", "test")
    assert finding.caller.site is not None
    assert finding.caller.site.code.startswith("assert list(numbers())")
    assert finding.owner is not None
    assert (finding.owner.operation, finding.owner.name) == ("event loop", "MainThread")
    assert finding.owner.held_seconds is not None
    assert ": the event loop of the thread stood still for " in finding.message
    assert finding.message.endswith(", and with it 2 other tasks")
    await waiting


def test_reading_in_a_callback(numbers: Callable[[], Any], found: Found) -> None:
    """A callback of the loop blocks it just as a task does."""
    loop = asyncio.new_event_loop()
    read: list[Any] = []
    loop.call_soon(lambda: read.extend(numbers()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert read == [b"1", b"2"]
    (finding,) = found()
    assert (finding.rule, finding.caller.kind) == ("blocked-loop", "thread")
    assert finding.message.endswith(", and no other task")


async def test_reading_in_a_thread(numbers: Callable[[], Any], found: Found) -> None:
    """A call that is started on a loop may be read in a thread."""
    call = numbers()
    assert await asyncio.to_thread(list, call) == [b"1", b"2"]
    assert found() == []


async def test_reading_after_the_loop(numbers: Callable[[], Any], found: Found) -> None:
    """A read beside a loop that does not run on the thread blocks none."""
    calls: list[Any] = []

    def elsewhere() -> None:
        async def start() -> None:
            calls.append(numbers())

        asyncio.run(start())
        calls.append(list(calls[0]))

    await asyncio.to_thread(elsewhere)
    assert calls[1] == [b"1", b"2"]
    assert found() == []


def test_reading_without_a_loop(numbers: Callable[[], Any], found: Found) -> None:
    """Without a running loop nothing is reported."""
    assert list(numbers()) == [b"1", b"2"]
    assert found() == []


async def test_reading_quickly(
    numbers: Callable[[], Any], found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that does not wait for long is no finding."""
    monkeypatch.setattr(
        catalogue_thresholds,
        "_current",
        catalogue_thresholds.Thresholds(blocked_loop_seconds=1000.0),
    )
    assert list(numbers()) == [b"1", b"2"]
    assert found() == []


async def test_reading_in_a_notebook(
    numbers: Callable[[], Any], found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook every cell blocks the kernel's loop: that is not reported."""
    monkeypatch.setitem(sys.modules, "ipykernel", threading)
    assert list(numbers()) == [b"1", b"2"]
    assert found() == []


async def test_failing_to_tell(
    numbers: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error while reporting is logged, and the read goes on."""
    monkeypatch.setattr(blocking, "warn", None)
    assert list(numbers()) == [b"1", b"2"]
    assert set(logged_by_us(caplog)) == {"a blocked loop goes unnoticed"}


@pytest.mark.parametrize("way", ["wrap", "enable"])
@pytest.mark.parametrize("shape", WHOLE_RPCS)
async def test_a_whole_rpc_on_a_loop(shape: str, way: str, found: Found) -> None:
    """A call that blocks a running loop until its RPC has ended is reported, with its line."""
    with sync_server(METHODS, mode=None) as address:
        if way == "wrap":
            with sync_channel(address) as channel:
                assert WHOLE_RPCS[shape](channel) == b"1"
        else:
            with guarded(), grpc.insecure_channel(address) as channel:
                assert WHOLE_RPCS[shape](channel) == b"1"
    (finding,) = found()
    assert (finding.rule, finding.api, finding.side) == ("blocked-loop", "sync", "client")
    assert (finding.caller.name, finding.caller.operation) == ("test", "call")
    assert finding.caller.site is not None
    assert finding.caller.site.function == "<lambda>"


async def test_a_whole_rpc_that_does_not_block(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A future waits for nothing; a thread may wait; and a notebook runs all on its loop."""
    with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:
        future = channel.unary_unary(path("Same")).future(b"1")
        assert await asyncio.to_thread(future.result) == b"1"
        assert await asyncio.to_thread(WHOLE_RPCS["unary_unary"], channel) == b"1"
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
        assert WHOLE_RPCS["unary_unary"](channel) == b"1"
    assert found() == []


@pytest.mark.parametrize("is_generator", [True, False])
async def test_a_sync_request_iterator_on_a_loop(is_generator: bool, found: Found) -> None:
    """grpc.aio advances a sync iterator on the loop: told with the line where the generator is."""

    def requests() -> Iterator[bytes]:
        yield b"1"

    async with aio_server(METHODS, mode=None) as address, aio_channel(address) as channel:
        iterator = requests() if is_generator else iter([b"1"])
        assert await within(channel.stream_unary(path("Count"))(iterator)) == b"1"
    told = found()
    assert {finding.rule for finding in told} == {"blocked-loop"}
    assert told[0].caller.operation == "next(request_iterator)"
    assert told[0].caller.site is not None
    function = "requests" if is_generator else "test_a_sync_request_iterator_on_a_loop"
    assert told[0].caller.site.function == function


async def test_a_sync_request_iterator_in_a_notebook(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a notebook all runs on one loop."""
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    async with aio_server(METHODS, mode=None) as address, aio_channel(address) as channel:
        assert await within(channel.stream_unary(path("Count"))(iter([b"1"]))) == b"1"
    assert found() == []


async def test_a_whole_rpc_while_the_guard_is_off(found: Callable[[], list[Finding]]) -> None:
    """What takes the place of grpcio's own method reports nothing then."""
    method = watching(lambda multi_callable: "answer", blocks=True)
    for mode, rules in (("off", []), ("raise", ["blocked-loop"])):
        with guarded(mode):
            assert method(SimpleNamespace(_method="/a/b")) == "answer"
        assert [finding.rule for finding in found()] == rules
