"""The rules of a life and the registry: what it does on purpose is no finding."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from inside import catalogue_thresholds, ledger, lifecycle_leaks
from support.registries import Stub, at_rest, connections, serving, settled
from support.staging import aio_server, path

from grpc_guard import ChannelRegistry, Finding, aio, guarded

Found = Callable[[], list[Finding]]


@pytest.fixture(autouse=True)
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Guard the process, with low thresholds."""
    low = catalogue_thresholds.Thresholds(channel_churn=3, stream_limit=4)
    monkeypatch.setattr(catalogue_thresholds, "_current", low)
    monkeypatch.setattr(ledger, "test_attempt", object())
    with guarded():
        yield


def look() -> None:
    """Look for what is left open, as a test's end does."""
    test_attempt = ledger.test_attempt
    lifecycle_leaks.look(
        lambda origin: origin.test_attempt is test_attempt, (), lambda ident, frame: False
    )


def test_many_connections_for_many_streams() -> None:
    """They are no churn, and none is crowded."""
    with ChannelRegistry(max_streams=1) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            calls = [Stub(lease).hold(b"") for _ in range(5)]
            assert [next(call) for call in calls] == [b"0"] * 5
            for call in calls:
                call.cancel()
            settled(lease)
        at_rest(registry)


def test_a_connection_filled_on_purpose() -> None:
    """Up to max_streams is what its owner allowed."""
    with ChannelRegistry(max_streams=8) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            calls = [Stub(lease).hold(b"") for _ in range(5)]
            assert [record.streams for record in registry.snapshot()] == [5]
            for call in calls:
                call.cancel()
            settled(lease)


def test_a_connection_without_a_limit(found: Found) -> None:
    """With max_streams off the rule stream-limit tells that it is crowded."""
    with ChannelRegistry(max_streams=None) as registry, serving() as (address, _):
        with registry.get(address) as lease:
            calls = [Stub(lease).hold(b"") for _ in range(5)]
            for call in calls:
                call.cancel()
            settled(lease)
    assert [finding.rule for finding in found()] == ["stream-limit"]


def test_leases_one_after_another() -> None:
    """A channel for each, if none is kept idle, is what the registry was told to do."""
    with ChannelRegistry() as registry, serving() as (address, _):
        for _ in range(5):
            with registry.get(address) as lease:
                assert lease.unary_unary(path("Unary"))(b"a") == b"a"
        at_rest(registry)


def test_a_registry_that_is_never_closed() -> None:
    """Its channels may live as long as the process."""
    registry = ChannelRegistry()
    with serving() as (address, _):
        stub = registry.stub(Stub, address)
        assert stub.unary(b"a") == b"a"
        del stub
        look()
        assert len(connections(registry)) == 1
    registry.close()


def test_a_stream_that_is_left_open_on_a_lease(found: Found) -> None:
    """That is the stream's own matter, and found as on any channel."""
    registry = ChannelRegistry()
    with serving() as (address, _):
        lease = registry.get(address)
        call: list[Any] = [lease.unary_stream(path("Hold"))(b"")]
        assert next(call[0]) == b"0"
        gc.collect()
        look()
        call.pop()
        lease.close()
    registry.close()
    assert [finding.rule for finding in found()] == ["unfinished-stream"]


async def test_many_connections_for_many_aio_streams() -> None:
    """They are no churn, and none is crowded."""
    methods = {"Echo": grpc.stream_stream_rpc_method_handler(_echo)}
    async with (
        aio_server(methods, mode=None) as address,
        aio.ChannelRegistry(max_streams=1) as registry,
        registry.get(address) as lease,
    ):
        echo = lease.stream_stream(path("Echo"))
        calls = [echo() for _ in range(5)]
        for call in calls:
            await call.write(b"x")
            assert await call.read() == b"x"
        assert len(registry.snapshot()) == 5
        for call in calls:
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF


async def _echo(requests: Any, context: Any) -> Any:
    async for request in requests:
        yield request
