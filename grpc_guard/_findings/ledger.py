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
from .records import Finding, Key

logger = logging.getLogger("grpc_guard")


Sink = Callable[[Finding], None]


class Ledger:
    """Every finding of this process, equal ones counted."""

    def __init__(self) -> None:
        self._entries: dict[Key, Finding] = {}
        self._wholes: dict[Key, Key] = {}  # of a finding without a party -> the one with both
        self._mutex = threading.RLock()  # reentrant: a signal handler may record too
        self._sinks: list[Sink] = []
        self.test: str | None = None  # id of the test that runs now; the pytest plugin sets it
        self.test_attempt: object = None  # the attempt at a test to which what is made now belongs

    def record(self, finding: Finding) -> int:
        """Enter `finding`, tell the sinks, and return how often it has been seen."""
        with self._mutex:  # the count only, never across a sink
            finding = self._entered(finding)
        for sink in tuple(self._sinks):
            try:
                sink(finding)
            except Exception as error:
                if is_injected(error):
                    raise
                logger.exception("a reporter failed; the finding is kept")
        return finding.count

    def _entered(self, finding: Finding) -> Finding:
        """Enter `finding`, counted with what is the same; return it as it stands now."""
        key = finding.key
        whole = self._wholes.get(key)  # the same with a party that has left this time
        known = self._entries.get(key if whole is None else whole)
        if known is not None:
            finding = dataclasses.replace(known, count=known.count + 1)
            key = finding.key
        else:
            for half in finding.halves if len(finding.places) > 1 else ():
                left = self._entries.pop(half, None)
                if left is not None:
                    finding = dataclasses.replace(finding, count=left.count + finding.count)
                self._wholes.setdefault(half, key)
        self._entries[key] = finding
        return finding

    def findings(self) -> tuple[Finding, ...]:
        with self._mutex:
            return tuple(self._entries.values())

    def clear(self) -> None:
        with self._mutex:
            self._entries.clear()
            self._wholes.clear()

    def forget(self, findings: Iterable[Finding]) -> None:
        with self._mutex:
            for finding in findings:
                self._entries.pop(finding.key, None)
                for half in finding.halves:
                    if self._wholes.get(half) == finding.key:
                        del self._wholes[half]

    def add_sink(self, sink: Sink) -> None:
        """Call `sink` with each finding as it occurs; its failures are logged and swallowed."""
        self._sinks.append(sink)

    def remove_sink(self, sink: Sink) -> None:
        self._sinks.remove(sink)

    def after_fork(self) -> None:
        """A forked child starts clean: no inherited lock, no inherited findings."""
        self._mutex = threading.RLock()
        self._entries, self._wholes = {}, {}


ledger = Ledger()
start_clean(ledger)


def findings() -> tuple[Finding, ...]:
    """Return what has been found in this process so far, oldest first.

    Every mode but ``off`` records: a finding is here even if the exception was
    swallowed, or was never raised. Equal findings are one entry with a count.
    """
    return ledger.findings()


def clear_findings() -> None:
    """Forget what has been found so far in this process."""
    ledger.clear()
