"""The contract, allowed: what correct programs do must work, and leave no finding."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from support.stage import ended
from support.staging import PATIENCE, within
from support.subjects import KINDS, Kind, each_operation

from grpc_guard import ConcurrencyError, status


@pytest.mark.parametrize(("kind", "operation"), each_operation())
async def test_hand_over(kind: Kind, operation: str, found):
    """One party after the other does its operation: threads or tasks, as many as one likes."""
    async with kind.open("raise") as subject:
        subject.release()
        messages = []
        for number in range(4):
            messages += await subject.do(operation, f"party-{number}")
        messages += await subject.rest()
        assert messages == await subject.carried()
    assert found() == []


def looks(kind: Kind, call: Any) -> list[Callable[[], Any]]:
    """Return what any party may do to `call` at any time, even during reads and writes."""
    if call is None:  # a context without other references
        return []
    if kind.side == "client":
        named = ["cancelled", "done"]
        named += ["is_active", "running"] if kind.api == "sync" else []
        # The calls that grpc.aio makes for interceptors do not have it.
        named += ["time_remaining"] if not kind.advanced_by_grpc else []
        return [
            *(getattr(call, name) for name in named),
            lambda: call.add_done_callback(lambda call: None),
        ]
    named = ["invocation_metadata", "time_remaining", "peer", "auth_context", "peer_identities"]
    named += ["peer_identity_key", "disable_next_message_compression"]
    if kind.api == "sync":
        named += ["is_active", "code", "details", "trailing_metadata"]
    elif hasattr(call, "read"):
        named += ["cancelled", "done", "code", "details", "trailing_metadata"]
    return [
        *(getattr(call, name) for name in named),
        lambda: call.set_code(grpc.StatusCode.OK),
        lambda: call.set_details(""),
        lambda: call.set_trailing_metadata((("key", "value"),)),
    ]


@pytest.mark.parametrize(("kind", "operation"), each_operation())
async def test_looks_during_operation(kind: Kind, operation: str, found):
    """Metadata, code, deadline, callbacks and status() are free while a party is inside."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        for look in looks(kind, subject.call):
            look()
        seen = getattr(status(subject.guarded), kind.direction)
        assert seen.operation == operation.lstrip(".")
        assert not owner.done()

        subject.release()
        messages = await within(owner) + await subject.rest()
        assert messages == await subject.carried()
    assert found() == []


@pytest.mark.parametrize(("kind", "operation"), each_operation(with_ends=True))
async def test_status_of_quiet_stream(kind: Kind, operation: str, found):
    """Before and after an operation no party is inside."""
    async with kind.open("raise") as subject:
        assert getattr(status(subject.guarded), kind.direction) is None
        subject.release()
        await subject.do(operation)
        if operation != "yield":  # its task is at the yield until gRPC asks for more
            assert getattr(status(subject.guarded), kind.direction) is None
        await subject.rest()
    assert found() == []


@pytest.mark.parametrize(
    ("kind", "operation"),
    each_operation(lambda kind: kind.side == "client" and not kind.advanced_by_grpc),
)
async def test_operation_after_cancel_of_call(kind: Kind, operation: str, found):
    """cancel() ends the RPC under its owner, and a later caller gets grpcio's own error."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        assert subject.call.cancel()
        late = await subject.start(operation)
        errors = [await ended(owner), await ended(late)]
    assert None not in errors
    assert not any(isinstance(error, ConcurrencyError) for error in errors)
    assert found() == []


@pytest.mark.parametrize(
    ("kind", "operation"),
    each_operation(lambda kind: kind.has_tasks, without=("yield",)),
)
async def test_operation_during_one_that_is_being_cancelled(kind: Kind, operation: str, found):
    """A task whose cancellation is on its way does not count as inside."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        owner.cancel()
        late = await subject.start(operation)
        await asyncio.wait([owner, late], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert owner.cancelled()
        subject.lose()
        assert not isinstance(await ended(late), ConcurrencyError)
    assert {finding.rule for finding in found()} <= {"cancelled-read"}  # if that has come first


@pytest.mark.parametrize(
    ("kind", "operation"),
    each_operation(lambda kind: kind.has_tasks, without=("yield",)),
)
async def test_operation_before_a_cancellation_is_delivered(kind: Kind, operation: str, found):
    """So it is where the next one comes before the task has learnt that it is cancelled."""
    async with kind.open("raise") as subject:
        owner = await subject.begin(operation)
        late = await subject.start(operation)  # takes its first step before the owner
        owner.cancel()
        await asyncio.wait([owner, late], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        assert owner.cancelled()
        subject.lose()
        assert not isinstance(await ended(late), ConcurrencyError)
    assert "concurrent" not in str([finding.rule for finding in found()])


DUPLEX = [kind for kind in KINDS if "done_writing" in kind.operations]


@pytest.mark.parametrize("kind", DUPLEX, ids=lambda kind: kind.name)
async def test_done_writing_during_done_writing(kind: Kind, found):
    """grpcio makes done_writing() idempotent: the second one is harmless, then or later."""
    async with kind.open("raise") as subject:
        owner = await subject.begin("done_writing")
        again = await subject.start("done_writing")
        subject.release()
        assert [await within(owner), await within(again)] == [[], []]
        assert await subject.do("done_writing") == []
        assert await subject.rest() == await subject.carried() == []
    assert found() == []
