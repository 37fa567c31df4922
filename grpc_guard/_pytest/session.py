"""One test session under the guard: which findings belong to which test, and what they do to it."""

from __future__ import annotations

import contextlib
import sys
import unittest
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from .._catalogue import words
from .._catalogue.catalogue import RULES
from .._catalogue.modes import Mode
from .._catalogue.thresholds import holding
from .._findings.ledger import ledger
from .._findings.records import Finding
from .._findings.wording import report
from .._reports.adoption import Adoption, Allowed
from .._reports.document import finding_from_dict, finding_to_dict
from .leftovers import Leftovers
from .probing import Probing
from .settings import Settings


class TestGuard:
    """What the fixture ``grpc_guard`` is: the guard, as seen from one test.

    ``findings`` are those of this test so far. ``clear()`` forgets them: a test that breaks
    the contract on purpose says so that way. ``allow()`` says it beforehand.
    """

    __test__ = False  # a class whose name starts with Test, but none

    def __init__(self, session: Session) -> None:
        self._session = session
        self.allowed: list[Allowed] = []

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of this test so far, in the order of their first occurrence."""
        return tuple(self._session.of_this_test())

    def clear(self) -> None:
        """Forget the findings of this test so far: they do not fail it."""
        ledger.forget(self.findings)

    def allow(self, rule: str, site: str = "*", *, reason: str) -> None:
        """Let findings of `rule` (or ``*``) at a call site that matches `site` not fail this test.

        `site` is a pattern for ``file`` or ``file:function``, relative to the rootdir.
        Raises ValueError for an unknown rule or an empty reason.
        """
        if rule != "*" and rule not in RULES:
            raise ValueError(f"{rule!r} is not a rule; use {', '.join(sorted(RULES))} or *")
        if not reason.strip():
            raise ValueError("allow(): a reason is needed")
        self.allowed.append(Allowed(rule, site, reason))


class Session:
    """The findings of a test session, its own and those of its workers."""

    def __init__(self, settings: Settings, probing: Probing) -> None:
        self.settings = settings
        self.probing = probing
        self.was_on = settings.is_on
        self._scopes = contextlib.ExitStack()
        # The running test
        self._guard = TestGuard(self)
        self._before: dict[tuple[object, ...], int] = {}  # counts when it began
        self._told: set[tuple[object, ...]] = set()  # what it has been told of
        self._leftovers = Leftovers()
        # All tests
        self._watched: set[str | None] = {None} if settings.is_on else set()
        self._allowed_by_tests: Counter[str] = Counter()
        self._of_workers: list[Finding] = []
        self._totals = [0, 0]

    # The process

    def begin(self) -> None:
        """Switch the guard on for the whole session, and let its thresholds hold."""
        self._scopes.enter_context(holding(self.settings.thresholds))
        if self.settings.is_on:
            self._scopes.enter_context(self.guarding(self.settings.mode))

    def end(self) -> None:
        self._scopes.close()

    @contextlib.contextmanager
    def guarding(self, mode: Mode) -> Iterator[None]:
        """Guard the process in `mode` while the block runs, and count what is guarded."""
        # Imported here: a session that is off need not pay for it.
        from .._core.stream import start_counting
        from .._process.switch import guarded

        start_counting()
        with guarded(mode, probe=self.probing.setting):
            yield

    # One test

    def begin_test(self, item: pytest.Item, mode: Mode | None) -> None:
        """Begin an attempt at a test, whose marker says `mode`."""
        self._excuse_what_the_test_allows()
        ledger.test = item.nodeid
        self._before = {finding.key: finding.count for finding in ledger.findings()}
        self._told = set()
        self._guard = TestGuard(self)
        self._leftovers.begin_test()
        if (self.settings.mode if mode is None else mode) is not Mode.OFF:
            self.watch()

    def watch(self) -> None:
        """Let the findings of the running test count: the guard is on in it."""
        self._watched.add(ledger.test)
        self.was_on = True

    def end_test(self) -> None:
        if ledger.test in self._watched:
            self._leftovers.look()
        self._leftovers.end_test()
        self._excuse_what_the_test_allows()
        ledger.test = None
        self._guard = TestGuard(self)

    def guard(self) -> TestGuard:
        return self._guard

    def setting_up(self, fixture: Any) -> contextlib.AbstractContextManager[None]:
        """Return what to do during the setup of a fixture: what it makes may outlive the test."""
        return self._leftovers.setting_up(fixture)

    def torn_down(self, fixture: Any) -> None:
        self._leftovers.torn_down(fixture)

    def of_this_test(self) -> Iterator[Finding]:
        """Yield the findings of the test that runs, of this attempt at it."""
        for finding in ledger.findings():
            if finding.test == ledger.test and finding.count > self._before.get(finding.key, 0):
                yield finding

    def judge(self, item: pytest.Item, phase: str, error: BaseException | None) -> None:
        """Fail the running test if it broke a rule of error severity; say where it did.

        `error` is what it fails with anyway: then the findings are a section of its report.
        A test that is being skipped is told at its teardown.
        """
        if isinstance(error, (pytest.skip.Exception, unittest.SkipTest)):
            return
        new = [finding for finding in self.of_this_test() if self._is_news(finding)]
        self._told |= {finding.key for finding in new}
        item.user_properties.extend(("grpc_guard", finding.message) for finding in new)
        failing = [finding for finding in new if self._fails(finding)]
        if not failing:
            return
        reports = "\n\n".join(map(report, failing))
        if error is not None:
            item.add_report_section(phase, "grpc_guard", reports)
        else:
            title = f"{words.count(len(failing), 'finding')} of grpc_guard"
            pytest.fail(f"{title}\n{reports}", pytrace=False)

    def _is_news(self, finding: Finding) -> bool:
        return (
            finding.test in self._watched
            and finding.key not in self._told
            and not self._allowing(finding)
            and self.settings.adoption.is_new(finding)
        )

    def _allowing(self, finding: Finding) -> Allowed | None:
        root = self.settings.adoption.root
        return next((entry for entry in self._guard.allowed if entry.matches(finding, root)), None)

    def _fails(self, finding: Finding) -> bool:
        return finding.severity == "error" and self.settings.write_baseline is None

    def _excuse_what_the_test_allows(self) -> None:
        for finding in tuple(self.of_this_test()):
            entry = self._allowing(finding)
            if entry is not None:
                self._allowed_by_tests[str(entry)] += finding.count
                ledger.forget([finding])

    # The end

    @property
    def findings(self) -> list[Finding]:
        """The findings of the tests in which the guard was on, and those of no test."""
        mine = [finding for finding in ledger.findings() if finding.test in self._watched]
        return [*mine, *self._of_workers]

    @property
    def new_findings(self) -> list[Finding]:
        """Those of :attr:`findings` that are neither allowed nor known."""
        return [finding for finding in self.findings if self.settings.adoption.is_new(finding)]

    def unattributed(self) -> list[Finding]:
        """Return the findings that no test can answer for: between tests, or at the end."""
        return [
            finding for finding in self.new_findings if not finding.test and self._fails(finding)
        ]

    @property
    def totals(self) -> tuple[int, int]:
        """Streams and operations guarded, those of the workers included."""
        totals = getattr(sys.modules.get("grpc_guard._core.stream"), "totals", None)
        streams, operations = (0, 0) if totals is None else totals()
        return streams + self._totals[0], operations + self._totals[1]

    def lines(self) -> Iterator[str]:
        """Yield what the summary says of allow-lists and baseline."""
        for entry, times in self._allowed_by_tests.items():
            yield f"allowed by a test, {times}x: {entry}"
        yield from self.settings.adoption.lines(self.findings)
        yield from self.probing.lines()

    def write_baseline(self) -> str | None:
        """Write the baseline if that was asked for, and say how that went. Raises OSError."""
        target = self.settings.write_baseline
        if target is None:
            return None
        adoption: Adoption = self.settings.adoption.with_baseline_of(self.findings)
        entries = adoption.write_baseline(target)
        return f"baseline written to {target}: {entries} {'entry' if entries == 1 else 'entries'}"

    # Workers of pytest-xdist

    def to_controller(self) -> dict[str, Any]:
        """Return what a worker tells its controller."""
        return {
            "findings": [finding_to_dict(finding) for finding in self.findings],
            "totals": self.totals,
            "was_on": self.was_on,
            "allowed_by_tests": dict(self._allowed_by_tests),
            "probe": self.probing.to_controller(),
        }

    def from_worker(self, told: dict[str, Any]) -> None:
        self._of_workers.extend(finding_from_dict(data) for data in told["findings"])
        self._totals = [mine + its for mine, its in zip(self._totals, told["totals"], strict=True)]
        self.was_on |= told["was_on"]
        self._allowed_by_tests.update(told["allowed_by_tests"])
        self.probing.from_worker(told["probe"])
