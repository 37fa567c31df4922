"""One test session under the guard: which findings belong to which test, and what they do to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from .._adoption import Allowed, write_baseline
from .._findings import Finding, ledger
from .._guard import start_counting
from .._messages import report
from .._process import guarded
from .._reports import text
from .._reports.document import finding_from_dict, finding_to_dict
from .._rules import RULES
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
        self._session.forget()

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

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._before: dict[tuple[object, ...], int] = {}  # counts when the test began
        self._reported: set[tuple[object, ...]] = set()
        self._guard = TestGuard(self)
        self._of_workers: list[Finding] = []
        self._totals = [0, 0]
        self._scope: guarded | None = None

    # The process

    def begin(self) -> None:
        """Switch the guard on for the whole session."""
        start_counting()
        if self.settings.is_on:
            self._scope = guarded(self.settings.mode)
            self._scope.__enter__()

    def end(self) -> None:
        if self._scope is not None:
            self._scope.__exit__(None, None, None)
            self._scope = None

    # One test

    def begin_test(self, item: pytest.Item) -> None:
        ledger.test = item.nodeid
        self._before = {finding.key: finding.count for finding in ledger.findings()}
        self._reported = set()
        self._guard = TestGuard(self)

    def end_test(self) -> None:
        ledger.test = None
        self._guard = TestGuard(self)

    def guard(self) -> TestGuard:
        return self._guard

    def of_this_test(self) -> Iterator[Finding]:
        """Yield the findings of the test that runs, of this attempt at it."""
        for finding in ledger.findings():
            if finding.test == ledger.test and finding.count > self._before.get(finding.key, 0):
                yield finding

    def forget(self) -> None:
        ledger.forget(tuple(self.of_this_test()))

    def judge(self, item: pytest.Item, phase: str, *, has_failed: bool) -> None:
        """Fail the running test if it broke a rule of error severity; say where it did."""
        new = [finding for finding in self.of_this_test() if self._fails(finding)]
        if not new:
            return
        self._reported |= {finding.key for finding in new}
        item.user_properties.extend(("grpc_guard", finding.message) for finding in new)
        reports = "\n\n".join(map(report, new))
        if has_failed:
            item.add_report_section(phase, "grpc_guard", reports)
        else:
            pytest.fail(
                f"{text.count(len(new), 'finding')} of grpc_guard\n{reports}", pytrace=False
            )

    def _fails(self, finding: Finding) -> bool:
        root = self.settings.adoption.root
        return (
            finding.severity == "error"
            and finding.key not in self._reported
            and self.settings.write_baseline is None
            and not any(entry.matches(finding, root) for entry in self._guard.allowed)
            and self.settings.adoption.is_new(finding)
        )

    # The end

    @property
    def findings(self) -> list[Finding]:
        return [*ledger.findings(), *self._of_workers]

    @property
    def totals(self) -> tuple[int, int]:
        """Streams and operations guarded, those of the workers included."""
        module = sys.modules.get("grpc_guard._guard")  # not there if nothing was guarded
        streams, operations = module.totals() if module is not None else (0, 0)
        return streams + self._totals[0], operations + self._totals[1]

    def orphans(self) -> list[Finding]:
        """Return the findings that no test can answer for: between tests, or at the end."""
        return [
            finding for finding in ledger.findings() if not finding.test and self._fails(finding)
        ]

    def to_controller(self) -> dict[str, Any]:
        """Return what a worker tells its controller."""
        found = [finding_to_dict(finding) for finding in ledger.findings()]
        return {"findings": found, "totals": self.totals}

    def from_worker(self, told: dict[str, Any]) -> None:
        self._of_workers.extend(finding_from_dict(data) for data in told["findings"])
        self._totals = [mine + its for mine, its in zip(self._totals, told["totals"], strict=True)]

    def write_baseline(self) -> str | None:
        """Write the baseline if that was asked for, and say so."""
        target = self.settings.write_baseline
        if target is None:
            return None
        errors = [finding for finding in self.findings if finding.severity == "error"]
        entries = write_baseline(target, errors, self.settings.adoption.root)
        return f"baseline written to {target}: {entries} entries"
