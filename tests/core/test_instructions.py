"""What one guarded operation costs, in instructions: see support/instructions.py."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from inside import Mode, Stream, SyncFields, core_fields, sync_calls
from support.instructions import FILE, PYTHON, count, counts, recorded

pytestmark = pytest.mark.skipif(
    PYTHON not in recorded(), reason=f"{FILE.name} has no numbers of {PYTHON}"
)


@pytest.fixture(autouse=True)
def nobody_counts_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure what users have: operations are counted only where a report will tell them."""
    monkeypatch.setattr(core_fields, "counting", False)


def test_instructions_of_every_operation() -> None:
    """No guarded operation executes more or fewer instructions than the file says."""
    assert counts() == recorded()[PYTHON], (
        f"a deliberate change records its numbers with: python -m support.instructions (in tests) "
        f"(under every supported Python; this is {PYTHON})"
    )


def test_instructions_after_specialisation() -> None:
    """An operation that the interpreter has optimised counts as many as the first one did."""
    requests = sync_calls.requests_of(
        iter(int, 1), Stream("/test/Warm", "client", "sync", Mode.RAISE)
    )
    first = count(requests.__next__)
    for _ in range(1000):
        next(requests)
    assert count(requests.__next__) == first
    assert (first > 0) is SyncFields.shows_frames


def test_instructions_of_others() -> None:
    """Instructions of the program inside an operation do not count as the guard's."""

    def requests() -> Any:
        while True:
            yield sum(range(10))

    def of(iterator: Any) -> int:
        stream = Stream("/test/Others", "client", "sync", Mode.RAISE)
        return count(sync_calls.requests_of(iterator, stream).__next__)

    assert of(requests()) == of(iter(int, 1))
    assert (of(requests()) > 0) is SyncFields.shows_frames


def test_count_leaves_the_tracer() -> None:
    """A trace function of the program, for coverage for instance, is still set afterwards."""
    before = sys.gettrace()
    count(lambda: None)
    assert sys.gettrace() is before
