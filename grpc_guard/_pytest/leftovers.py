"""What a test leaves open: only objects that it made itself and that must not outlive it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection, Iterator
from types import FrameType
from typing import Any

from .._findings.ledger import ledger


class Leftovers:
    """Checks the end of each test that used gRPC under the guard.

    A fixture of a wider scope than the test, and all that it holds, may outlive the test. So may
    what a thread holds that ran before the test or belongs to a pool. grpc is not imported here.
    """

    def __init__(self) -> None:
        self._fixtures: dict[int, Any] = {}  # those of a wider scope that are active

    def begin(self) -> None:
        """Ignore what was made before a test, or between two."""
        churn = sys.modules.get("grpc_guard._lifecycle.churn")
        if churn is not None:
            churn.forget_churn()

    @contextlib.contextmanager
    def setting_up(self, fixture: Any) -> Iterator[None]:
        """Ignore what is made meanwhile, if `fixture` outlives the test."""
        if fixture.scope == "function":
            yield
            return
        self._fixtures[id(fixture)] = fixture
        test_attempt, ledger.test_attempt = ledger.test_attempt, None
        try:
            yield
        finally:
            ledger.test_attempt = test_attempt

    def torn_down(self, fixture: Any) -> None:
        self._fixtures.pop(id(fixture), None)

    def look(self, threads: Collection[int]) -> None:
        """Warn of what the test that ends has left open; `threads` already ran when it began."""
        if "grpc_guard._lifecycle.channels" not in sys.modules:
            return  # it has not used gRPC under the guard
        from .._lifecycle import leaks

        def may_outlive(ident: int, frame: FrameType) -> bool:
            return ident in threads or leaks.is_of_a_pool(frame)

        test_attempt = ledger.test_attempt
        leaks.look(
            lambda origin: origin.test_attempt is test_attempt,
            [
                held
                for fixture in self._fixtures.values()
                for held in (fixture.cached_result, getattr(fixture, "_finalizers", None))
            ],
            may_outlive,
        )
