"""The comparison itself: grpcio alone, sync and aio, with its own interceptors."""

from __future__ import annotations

import queue
import weakref
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparing import (
    AIO_READING_SERVICE,
    AIO_SERVICE,
    ROUNDS,
    SYNC_SERVICE,
    aio_connected,
    compare,
    compare_async,
    connected,
    converse,
    converse_async,
)
from support.staging import path

from grpc_guard import ConcurrencyError, is_enabled


def test_a_sync_program() -> None:
    """A sync client and server with all kinds of streams behave as without the guard."""

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel:
            return converse(channel)

    seen = compare(program)
    assert seen["chat"] == ([b"echo %d" % number for number in range(ROUNDS)], [])
    assert seen["failure"] == [b"one", (grpc.StatusCode.DATA_LOSS, "no more of it")]


@pytest.mark.parametrize("service", [AIO_SERVICE, AIO_READING_SERVICE], ids=["yield", "write"])
def test_an_aio_program(service: Any) -> None:
    """An aio client and server with all kinds of streams behave as without the guard."""

    async def program() -> Any:
        async with aio_connected(service) as channel:
            return await converse_async(channel)

    seen = compare_async(program)
    assert seen["chat"] == ([b"echo %d" % number for number in range(ROUNDS)], True)


def test_a_sync_service_on_an_aio_server() -> None:
    """Handlers that are no coroutines, in the thread pool of an aio server, behave the same."""

    async def program() -> Any:
        # Not Fail: abort() after a yield is a race of grpcio's own in such handlers.
        service = AIO_SERVICE | {name: SYNC_SERVICE[name] for name in ("Count", "Join", "Echo")}
        async with aio_connected(service) as channel:
            return await converse_async(channel)

    compare_async(program)


def test_a_program_with_dead_weak_proxies() -> None:
    """Objects that raise when they are inspected, which every larger program has, do no harm."""

    class Referent:
        pass

    dead = weakref.proxy(Referent())

    def program() -> Any:
        with connected(SYNC_SERVICE) as channel:
            return converse(channel)

    with pytest.raises(ReferenceError):
        dead.anything  # noqa: B018
    compare(program)


def test_a_program_that_can_tell() -> None:
    """The comparison fails for a program that behaves differently when guarded."""
    runs = iter(range(2))
    with pytest.raises(AssertionError):
        compare(lambda: next(runs))


def test_a_program_without_streams() -> None:
    """The comparison fails for a program in which nothing was guarded."""
    with pytest.raises(AssertionError, match="no stream was guarded"):
        compare(lambda: None)


def test_a_program_that_swallows_a_finding(found: Any) -> None:
    """The comparison fails for a program with a finding, whatever else it did."""

    def requests(outbox: queue.Queue[Any]) -> Any:
        yield from iter(outbox.get, None)

    def program() -> None:
        with connected(SYNC_SERVICE) as channel:
            outbox = queue.Queue[Any]()
            join, shared = channel.stream_unary(path("Join")), requests(outbox)
            call = join.future(shared)
            if is_enabled():
                with suppress(ConcurrencyError):
                    join(shared)
            outbox.put(None)
            call.result()

    with pytest.raises(AssertionError, match="shared-iterator"):
        compare(program)
    assert [finding.rule.name for finding in found()] == ["shared-iterator"]
