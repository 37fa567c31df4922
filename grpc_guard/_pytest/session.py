"""One test session under the guard: which findings belong to which test, and how they affect it."""

from __future__ import annotations

import contextlib
import os
import sys
import unittest
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from .._catalogue import words
from .._catalogue.modes import Mode
from .._catalogue.thresholds import holding
from .._findings.ledger import ledger
from .._findings.records import Finding
from .._findings.reporting import told
from .._process.import_hook import after_import
from .._reports.process import Process, guarded_so_far
from .._reports.run import GuardedRun
from .attempt import Attempt, TestGuard
from .completeness import Completeness
from .leftovers import Leftovers
from .probing import Probing
from .settings import WRITE_BASELINE, Settings
from .showing import fail, reports_of


class Session:
    """The findings of a test session, its own and those of its workers."""

    def __init__(self, settings: Settings, probing: Probing) -> None:
        self.settings = settings
        self.probing = probing
        self.completeness = Completeness()
        self.was_on = settings.is_on
        self._scopes = contextlib.ExitStack()
        self._attempt = Attempt()
        self._leftovers = Leftovers()
        self._watched: set[str | None] = {None} if settings.is_on else set()
        self._allowed_by_tests: Counter[str] = Counter()
        self._workers: list[Process] = []

    # The process

    def begin(self) -> None:
        """Switch the guard on for the whole session, and apply its thresholds."""
        self._scopes.enter_context(holding(self.settings.thresholds))
        if self.settings.is_on:
            self._scopes.enter_context(self.guarding(self.settings.mode))

    def end(self) -> None:
        self._scopes.close()

    @contextlib.contextmanager
    def guarding(self, mode: Mode) -> Iterator[None]:
        """Guard the process in `mode` while the block runs, and count what is guarded."""
        # Imported here, so that a session without the guard does not pay for it.
        from .._core.stream import start_counting
        from .._process.switch import guarded

        start_counting()
        before, told.elsewhere = told.elsewhere, True
        try:
            with _noting(), guarded(mode, probe=self.probing.setting):
                yield
        finally:
            told.elsewhere = before

    # One test

    def begin_test(self, item: pytest.Item, mode: Mode | None) -> None:
        """Begin an attempt at a test, whose marker sets `mode`."""
        self._begin(Attempt(item.nodeid))
        if (self.settings.mode if mode is None else mode) is not Mode.OFF:
            self.watch()

    def watch(self) -> None:
        """Count the findings of the running test: the guard is on in it."""
        self._watched.add(self._attempt.test)
        self.was_on = True

    def end_test(self) -> None:
        ledger.test = self._attempt.test  # what it leaves open is its own
        if self._attempt.test in self._watched:
            self._leftovers.look(self._attempt.threads)
        self._begin(Attempt())

    def _begin(self, attempt: Attempt) -> None:
        """Replace the current attempt by `attempt`, and record what it has allowed."""
        root = self.settings.adoption.root
        for finding in tuple(self._attempt.findings()):
            entry = self._attempt.allowing(finding, root)
            if entry is not None:
                self._allowed_by_tests[str(entry)] += finding.count
                self._attempt.forget([finding])
        self._attempt = attempt
        attempt.begin()
        self._leftovers.begin()

    def guard(self) -> TestGuard:
        return TestGuard(self._attempt)

    def setting_up(self, fixture: Any) -> contextlib.AbstractContextManager[None]:
        """Return a context for the setup of a fixture: what it makes may outlive the test."""
        return self._leftovers.setting_up(fixture)

    def torn_down(self, fixture: Any) -> None:
        self._leftovers.torn_down(fixture)

    def judge(self, item: pytest.Item, phase: str, error: BaseException | None) -> None:
        """Fail the running test, with the places, if it broke a rule of error severity.

        If it fails anyway with `error`, the findings are a section of its report. A test that is
        being skipped fails at its teardown.
        """
        if isinstance(error, (pytest.skip.Exception, unittest.SkipTest)):
            return
        new = [finding for finding in self._attempt.findings() if self._is_news(finding)]
        self._attempt.told |= {finding.key for finding in new}
        item.user_properties.extend(("grpc_guard", finding.message) for finding in new)
        failing = [finding for finding in new if self._fails(finding)]
        if not failing:
            return
        if error is not None:
            item.add_report_section(phase, "grpc_guard", reports_of(failing, item.config))
        else:
            fail(item, f"{words.count(len(failing), 'finding')} of grpc_guard", failing)

    def has_judged(self) -> None:
        """Count what is found from now on as outside of any test: no test can fail for it."""
        ledger.test = None

    def _is_news(self, finding: Finding) -> bool:
        adoption = self.settings.adoption
        return (
            finding.test in self._watched
            and finding.key not in self._attempt.told
            and self._attempt.allowing(finding, adoption.root) is None
            and adoption.is_new(finding)
        )

    def _fails(self, finding: Finding) -> bool:
        return finding.severity == "error" and self.settings.write_baseline is None

    # The end

    @property
    def run(self) -> GuardedRun:
        """The outcome of the session so far, with its workers.

        Its findings are those of the tests in which the guard was on, and those outside of tests.
        """
        settings = self.settings
        processes = [self._this_process(), *self._workers]
        is_probed = settings.probe is not None
        return GuardedRun(settings.adoption, processes, is_probed, self.completeness.gap)

    def _this_process(self) -> Process:
        mine = [finding for finding in ledger.findings() if finding.test in self._watched]
        process = Process(os.getpid(), mine, *guarded_so_far(), not_kept=ledger.overflow())
        learnt = self.probing.learnt()
        if learnt is not None:
            process.add(learnt)
        return process

    def unattributed(self) -> list[Finding]:
        """Return the findings that belong to no test: between tests, or at the end."""
        return [
            finding for finding in self.run.failing if not finding.test and self._fails(finding)
        ]

    def notes(self) -> Iterator[str]:
        """Yield the lines of the summary about what tests have allowed."""
        for entry, times in self._allowed_by_tests.items():
            yield f"allowed by a test, {times}x: {entry}"

    def write_baseline(self) -> list[str]:
        """Write the baseline if an option asks for it, and return lines about it.

        Raises OSError and AdoptionError.
        """
        target = self.settings.write_baseline
        if target is None:
            return []
        merged = self.run.merged_into(target, WRITE_BASELINE)
        merged.write(target)
        return list(merged.lines(target))

    # Workers of pytest-xdist

    def to_controller(self) -> dict[str, Any]:
        """Return what a worker sends to its controller."""
        return {
            "process": self._this_process().told(),
            "was_on": self.was_on,
            "gap": self.completeness.gap,
            "allowed_by_tests": dict(self._allowed_by_tests),
        }

    def from_worker(self, result: dict[str, Any]) -> None:
        self._workers.append(Process.read(result["process"]))
        self.was_on |= result["was_on"]
        self.completeness.miss(result["gap"])
        self._allowed_by_tests.update(result["allowed_by_tests"])


_notings = 0  # nested blocks of a session that note where work begins


@contextlib.contextmanager
def _noting() -> Iterator[None]:
    """Note where work begins while the block runs, once the program has imported grpc."""
    global _notings
    _notings += 1
    after_import("grpc", _note)
    try:
        yield
    finally:
        _notings -= 1
        noting = sys.modules.get("grpc_guard._process.noting")
        if noting is not None and not _notings:
            noting.stop_noting()


def _note() -> None:
    if _notings:
        from .._process.noting import note_where_work_begins

        note_where_work_begins()
