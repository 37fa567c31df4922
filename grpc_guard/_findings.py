"""What the guard found: the records, and the ledger that keeps them.

Records are frozen and keep nothing of the program alive: names and source lines are
copied, no call, task, thread, frame or message is held.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterable

from ._rules import Rule

logger = logging.getLogger("grpc_guard")


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack: where, in which function, and the source text there."""

    file: str
    line: int
    function: str
    code: str


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """A party to a finding: who, in which operation, for how long, and where.

    ``kind`` is ``thread``, ``task`` or ``greenlet``. ``held_seconds`` is how long the
    operation had been in progress (None for a caller, which had only arrived).
    ``stack`` runs from the outermost frame down to the user's line.
    """

    kind: str
    name: str
    operation: str
    held_seconds: float | None = None
    stack: tuple[Frame, ...] = ()

    @property
    def site(self) -> Frame | None:
        """The user's line, or None where no stack could be read."""
        return self.stack[-1] if self.stack else None


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule. The fields are those of the report schema.

    ``message`` is the first line of the report, ``remedy`` how to mend the program,
    ``time`` when it was first seen (UTC, ISO 8601), ``count`` how often the same
    two call sites broke the same rule on the same RPC, ``test`` the id of the test
    that was running, if any. ``owner`` is None where a rule has none.
    """

    rule: Rule
    severity: str
    rpc: str
    side: str
    api: str
    message: str
    remedy: str
    caller: Owner
    owner: Owner | None = None
    count: int = 1
    test: str | None = None
    time: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """Findings with equal keys are one finding, counted."""
        owner = self.owner.site if self.owner is not None else None
        operations = (self.caller.operation, self.owner.operation if self.owner else None)
        return (self.rule, self.rpc, self.side, operations, self.caller.site, owner, self.test)


Sink = Callable[[Finding], None]


class Ledger:
    """Every finding of this process, equal ones counted."""

    def __init__(self) -> None:
        self._entries: dict[tuple[object, ...], Finding] = {}
        self._mutex = threading.RLock()  # reentrant: a signal handler may record too
        self._sinks: list[Sink] = []
        self.test: str | None = None  # id of the test that runs now; the pytest plugin sets it
        self.era: object = None  # what is born now is that attempt's at a test, if it is one's

    def record(self, finding: Finding) -> int:
        """Enter `finding`, tell the sinks, and return how often it has been seen."""
        with self._mutex:  # the count only, never across a sink
            known = self._entries.get(finding.key)
            if known is not None:
                finding = dataclasses.replace(known, count=known.count + 1)
            self._entries[finding.key] = finding
        for sink in tuple(self._sinks):
            try:
                sink(finding)
            except Exception:
                logger.exception("a reporter failed; the finding is kept")
        return finding.count

    def findings(self) -> tuple[Finding, ...]:
        with self._mutex:
            return tuple(self._entries.values())

    def clear(self) -> None:
        with self._mutex:
            self._entries.clear()

    def forget(self, findings: Iterable[Finding]) -> None:
        with self._mutex:
            for finding in findings:
                self._entries.pop(finding.key, None)

    def add_sink(self, sink: Sink) -> None:
        """Call `sink` with each finding as it occurs; its failures are logged and swallowed."""
        self._sinks.append(sink)

    def remove_sink(self, sink: Sink) -> None:
        self._sinks.remove(sink)

    def after_fork(self) -> None:
        """A forked child starts clean: no inherited lock, no inherited findings."""
        self._mutex = threading.RLock()
        self._entries = {}


ledger = Ledger()
if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows
    os.register_at_fork(after_in_child=ledger.after_fork)


def findings() -> tuple[Finding, ...]:
    """Return what has been found in this process so far, oldest first.

    Every mode but ``off`` records: a finding is here even if the exception was
    swallowed, or was never raised. Equal findings are one entry with a count.
    """
    return ledger.findings()


def clear_findings() -> None:
    """Forget what has been found so far in this process."""
    ledger.clear()
