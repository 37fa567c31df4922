"""Nothing grows for ever: every table of the package is bounded, or empties itself."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from inside import (
    CONCURRENT_READ,
    Adoption,
    GuardedRun,
    Process,
    document,
    extras,
    findings_ledger,
    formats_text,
    ledger,
    proxies_servers,
)
from support.staging import PATIENCE, SERVICE, aio_server, path
from support.tables import STEADY, grown, tables

import grpc_guard
import grpc_guard.aio
from grpc_guard import Finding, Owner

STREAMS = 300  # in each round of each kind


def numbers(request: bytes, context: Any) -> Iterator[bytes]:
    yield b"1"


async def aio_numbers(request: bytes, context: Any) -> Any:
    yield b"1"


class Invented(grpc.GenericRpcHandler):
    """Serves whatever a client asks for, by a handler of its own each time."""

    def service(self, details: Any) -> Any:
        if not details.method.startswith("/invented"):
            return None
        return grpc.unary_stream_rpc_method_handler(lambda request, context: iter([b"1"]))


def round_of_sync(address: str, registry: Any, shared: Any) -> None:
    with registry.get(address) as lease:
        for number in range(STREAMS):
            for channel in (lease, shared):
                assert list(channel.unary_stream(path("Numbers"))(b"")) == [b"1"]
            assert list(shared.unary_stream(f"/invented/{number}-{id(number)}")(b"")) == [b"1"]
    with grpc.insecure_channel(address) as channel:
        assert list(channel.unary_stream(path("Numbers"))(b"")) == [b"1"]


async def round_of_aio(address: str, registry: Any) -> None:
    async with registry.get(address) as lease:
        for _ in range(STREAMS):
            assert [each async for each in lease.unary_stream(path("Numbers"))(b"")] == [b"1"]
            call = lease.unary_stream(path("Numbers"))(b"")
            waiting = asyncio.ensure_future(call.read())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def test_no_table_grows(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a first round of streams of all kinds, a second one leaves no table larger."""

    async def aio_rounds() -> list[Counter[str]]:
        seen = []
        async with aio_server({"Numbers": grpc.unary_stream_rpc_method_handler(aio_numbers)}) as at:
            async with grpc_guard.aio.ChannelRegistry() as registry:
                for _ in range(2):
                    await round_of_aio(at, registry)
                    found()
                    seen.append(tables())
        return seen

    monkeypatch.setattr(proxies_servers, "_CACHE_SIZE", STREAMS // 10)
    monkeypatch.setattr(extras, "_RETIRED", STEADY)
    handlers = {"Numbers": grpc.unary_stream_rpc_method_handler(numbers)}
    with grpc_guard.guarded():
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers), Invented())
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        address = f"127.0.0.1:{port}"
        with grpc_guard.ChannelRegistry() as registry, grpc.insecure_channel(address) as shared:
            seen = []
            for _ in range(2):
                round_of_sync(address, registry, shared)
                found()
                seen.append(tables())
        server.stop(None).wait(PATIENCE)
        assert grown(*seen) == {}
        assert grown(*asyncio.run(aio_rounds())) == {}


FINDING = Finding(
    rule=CONCURRENT_READ,
    severity="error",
    rpc="/rpc/0",
    side="client",
    api="sync",
    message="",
    remedy="",
    caller=Owner("thread", "a", "next"),
)


def test_findings_without_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, found: Any
) -> None:
    """Beyond so many different findings they are counted by rule and RPC, and that is said once."""
    monkeypatch.setattr(findings_ledger, "KEPT", 5)
    monkeypatch.setattr(findings_ledger, "_KEPT_RPCS", 2)
    finding = FINDING
    for number in range(20):
        ledger.record(dataclasses.replace(finding, test=f"line {number}", rpc=f"/rpc/{number % 4}"))
    assert ledger.record(dataclasses.replace(finding, test="line 0", rpc="/rpc/0")) == 2
    counted = ledger.overflow()
    assert sum(counted.values()) == 15
    assert sorted(rpc for _, rpc in counted) == ["(other RPCs)", "/rpc/1", "/rpc/2"]
    assert len([record for record in caplog.records if "are kept" in record.message]) == 1
    kept = len(found())
    assert kept == 5
    assert ledger.overflow() == {}


def test_findings_that_were_not_kept_in_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: Any
) -> None:
    """Those of all processes are in the reports, and in the summary."""
    monkeypatch.setattr(findings_ledger, "KEPT", 0)
    ledger.record(FINDING)
    ledger.record(FINDING)
    processes = [Process(pid, not_kept=ledger.overflow()) for pid in (1, 2)]
    run = GuardedRun(Adoption(tmp_path), processes)
    report = run.report("warn", 1)
    (counted,) = document(report)["not_kept"]
    assert counted == {"rule": "concurrent-read", "rpc": "/rpc/0", "count": 4}
    line = "  and 4 findings of other lines, counted and not kept (more than 10,000)"
    assert list(run.summary())[-1] == line
    assert formats_text.render(report).splitlines()[-1] == line
    found()
    assert "not_kept" not in document(
        GuardedRun(Adoption(tmp_path), [Process(1)]).report("warn", 1)
    )
