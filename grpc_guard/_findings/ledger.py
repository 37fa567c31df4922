"""What the guard found: the records, and the ledger that keeps them.

Records are frozen and keep nothing of the program alive: names and source lines are
copied, no call, task, thread, frame or message is held.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable

from .._catalogue.boundary import is_injected
from .._catalogue.forks import start_clean
from .._catalogue.lazy import public
from .records import Finding, Key

logger = logging.getLogger("grpc_guard")


Sink = Callable[[Finding], None]


KEPT = 10_000  # different findings; further ones are only counted, by rule and RPC
_KEPT_RPCS = 1_000  # rules and RPCs that are counted separately among those
NOT_LOGGED = 0  # the count of a finding that was not kept
OTHER_RPCS = "(other RPCs)"


class Entry:
    """One finding in the ledger, and how often it has been seen."""

    __slots__ = ("count", "due", "finding", "is_kept")

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        self.count = finding.count - 1  # the first of it is yet to be counted
        self.is_kept = True  # False once it was forgotten
        self.due = 0  # the count at which the sparse sinks are called again

    def counted(self, count: int) -> Finding:
        return dataclasses.replace(self.finding, count=count)


class Ledger:
    """Every finding of this process, equal ones counted."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}
        self._wholes: dict[Key, Key] = {}  # key without a party -> key with both
        self._overflow: dict[tuple[str, str], int] = {}  # of findings too many
        self._mutex = threading.RLock()  # reentrant: a signal handler may record too
        self._sinks: list[Sink] = []
        self._sparse: list[Sink] = []
        self.test: str | None = None  # id of the test that runs now; the pytest plugin sets it
        self.test_attempt: object = None  # the attempt at a test to which what is made now belongs

    def record(self, finding: Finding) -> int:
        """Enter `finding`, tell the sinks, and return how often it has been seen."""
        return self.enter(finding)[1]

    def enter(self, finding: Finding) -> tuple[Entry, int]:
        """Record `finding`; return its entry, which again() takes, and its count."""
        with self._mutex:  # the count only, never across a sink
            entry = self._entered(finding)
            if not entry.is_kept:
                self._count_only(finding)
                return entry, NOT_LOGGED
            entry.count = count = entry.count + 1
        self._tell(entry, count)
        return entry, count

    def again(self, entry: Entry) -> int:
        """Record the finding of `entry` once more and return its count; 0 if it was forgotten."""
        with self._mutex:  # the count only
            if not entry.is_kept:
                return 0
            entry.count = count = entry.count + 1
        self._tell(entry, count)
        return count

    def _tell(self, entry: Entry, count: int) -> None:
        sinks = self._sinks
        if self._sparse and count >= entry.due:
            entry.due = 2 * count
            sinks = [*self._sparse, *sinks]
        if not sinks:
            return
        finding = entry.counted(count)
        for sink in tuple(sinks):
            try:
                sink(finding)
            except Exception as error:
                if is_injected(error):
                    raise
                logger.exception("a reporter failed; the finding is kept")

    def _entered(self, finding: Finding) -> Entry:
        """Return the entry for `finding` and its equals; it is not kept if there are too many."""
        key = finding.key
        whole = self._wholes.get(key)  # the whole finding, if a party has left this time
        entry = self._entries.get(key if whole is None else whole)
        if entry is not None:
            return entry
        entry = Entry(finding)
        if len(self._entries) >= KEPT:
            entry.is_kept = False
            return entry
        for half in finding.halves if len(finding.places) > 1 else ():
            left = self._entries.pop(half, None)
            if left is not None:
                left.is_kept = False
                entry.count += left.count
            self._wholes.setdefault(half, key)
        self._entries[key] = entry
        return entry

    def _count_only(self, finding: Finding) -> None:
        """Count a finding too many by its rule and RPC."""
        if not self._overflow:
            logger.warning(
                "%d different findings are kept; further ones are only counted, by rule and RPC, and neither "
                "logged nor reported one by one",
                KEPT,
            )
        key = (finding.rule.name, finding.rpc)
        if key not in self._overflow and len(self._overflow) >= _KEPT_RPCS:
            key = (finding.rule.name, OTHER_RPCS)
        self._overflow[key] = self._overflow.get(key, 0) + 1

    def overflow(self) -> dict[tuple[str, str], int]:
        """Return how many findings were counted and not kept, by the names of rule and RPC."""
        with self._mutex:
            return dict(self._overflow)

    def findings(self) -> tuple[Finding, ...]:
        with self._mutex:
            return tuple(entry.counted(entry.count) for entry in self._entries.values())

    def clear(self) -> None:
        with self._mutex:
            for entry in self._entries.values():
                entry.is_kept = False
            self._entries.clear()
            self._wholes.clear()
            self._overflow.clear()

    def forget(self, findings: Iterable[Finding]) -> None:
        with self._mutex:
            for finding in findings:
                entry = self._entries.pop(finding.key, None)
                if entry is not None:
                    entry.is_kept = False
                for half in finding.halves:
                    if self._wholes.get(half) == finding.key:
                        del self._wholes[half]

    def add_sink(self, sink: Sink, *, sparse: bool = False) -> None:
        """Call `sink` with each finding as it occurs; its failures are logged and swallowed.

        A sparse one is called when a finding is new, and each time that its count has doubled:
        endless refusals cost almost nothing.
        """
        (self._sparse if sparse else self._sinks).append(sink)

    def remove_sink(self, sink: Sink) -> None:
        (self._sparse if sink in self._sparse else self._sinks).remove(sink)

    def after_fork(self) -> None:
        """A forked child starts clean: no inherited lock, no inherited findings."""
        self._mutex = threading.RLock()
        self.clear()


ledger = Ledger()
start_clean(ledger)


@public
def findings() -> tuple[Finding, ...]:
    """Return the findings of this process so far, oldest first.

    Every mode but ``off`` records: a finding is here even if the exception was
    swallowed, or was never raised. Equal findings are one entry with a count.
    """
    return ledger.findings()


@public
def clear_findings() -> None:
    """Remove all findings of this process."""
    ledger.clear()
