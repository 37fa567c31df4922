"""The contract, released: however an operation ends, its direction is free again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.stage import EOF, ended
from support.subjects import Kind, each_operation

from grpc_guard import ConcurrencyError, status


def is_free(kind: Kind, guarded: Any) -> bool:
    return getattr(status(guarded), kind.direction) is None


@pytest.mark.parametrize(("kind", "operation"), each_operation(with_ends=True))
async def test_failure(kind: Kind, operation: str, found):
    """The RPC, or the user's iterator, fails under the owner: the direction is free."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        subject.lose()
        await ended(owner)
        assert is_free(kind, subject.guarded)
        if kind.side == "client":  # on a server the handler has ended, too
            late = await ended(await subject.start(operation))
            assert not isinstance(late, ConcurrencyError)
    # Of grpc.aio, what a request iterator raises is lost.
    assert {finding.rule for finding in found()} <= {"lost-exception"}


@pytest.mark.parametrize(
    ("kind", "operation"),
    each_operation(lambda kind: kind.has_tasks, without=("yield",), with_ends=True),
)
async def test_cancelled_task(kind: Kind, operation: str, found):
    """The owner's task is cancelled: the direction is free."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        owner.cancel()
        assert isinstance(await ended(owner), asyncio.CancelledError)
        assert is_free(kind, subject.guarded)
        subject.lose()
    assert found() == []


@pytest.mark.parametrize(
    ("kind", "operation"), each_operation(lambda kind: kind.has_tasks, without=("yield",))
)
async def test_timeout(kind: Kind, operation: str, found):
    """wait_for() gives up the owner's operation: the direction is free."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(owner, 0)
        assert is_free(kind, subject.guarded)
        subject.lose()
    assert found() == []


@pytest.mark.parametrize(
    ("kind", "operation"), each_operation(lambda kind: kind.direction == "read")
)
async def test_exhausted_stream(kind: Kind, operation: str, found):
    """After the end of the stream every read returns the end, any number of times."""
    async with kind.open("raise") as subject:
        subject.release()
        messages = []
        while (message := await subject.do(operation)) != [EOF]:
            messages += message
        assert messages == await subject.carried()
        assert await subject.do(operation) == [EOF]
        assert is_free(kind, subject.guarded)
        await subject.rest()
    assert found() == []
