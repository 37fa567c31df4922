"""The contract, refused: one suite, run over every guarded object (see subjects.KINDS)."""

from __future__ import annotations

from time import monotonic

import pytest
from support.staging import within
from support.subjects import Kind, each_pair

import grpc_guard


@pytest.mark.parametrize(("kind", "inside", "arriving"), each_pair())
async def test_operation_during_another(kind: Kind, inside: str, arriving: str, found):
    """The one that arrives is refused; the one inside loses nothing; the next one works."""
    begun = monotonic()
    async with kind.open("raise") as subject:
        owner = await subject.begin(inside)
        with pytest.raises(grpc_guard.ConcurrencyError) as refusal:
            await subject.do(arriving)
        assert not owner.done() or inside == "done_writing"  # which nothing holds up

        subject.release()
        messages = await within(owner)
        if inside != "done_writing":  # a half-closed stream takes no more messages
            messages += await subject.do(arriving)
        messages += await subject.rest()
        assert messages == await subject.carried()

        [finding] = found()
        assert finding == refusal.value.finding
        assert (finding.rule, finding.side, finding.api, finding.rpc, finding.count) == (
            kind.rule,
            kind.side,
            kind.api,
            kind.rpc,
            1,
        )
        assert finding.owner.operation == inside.lstrip(".")
        assert finding.caller.operation == arriving.lstrip(".")
        # However long all that took: the owner has noted when it came.
        assert finding.owner.held_seconds <= monotonic() - begun
