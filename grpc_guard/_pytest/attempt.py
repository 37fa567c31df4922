"""One attempt at a test: what was found in it, and what the test allows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .._catalogue import words
from .._catalogue.catalogue import RULES
from .._catalogue.cpython import threads_by_ident
from .._findings.ledger import ledger
from .._findings.records import Finding
from .._reports.adoption import Allowed


class Attempt:
    """The state of the running test; the next test, or a rerun, gets a new one.

    `test` is its id; between tests it is None.
    """

    def __init__(self, test: str | None = None) -> None:
        self.test = test
        self.allowed: list[Allowed] = []
        self.told: set[tuple[object, ...]] = set()  # keys of the findings that it was given
        self.threads = frozenset(threads_by_ident)  # at its beginning
        self._before = {finding.key: finding.count for finding in ledger.findings()}

    def begin(self) -> None:
        """Assign what is found and made from now on to this attempt."""
        ledger.test = self.test
        ledger.test_attempt = None if self.test is None else object()

    def findings(self) -> Iterator[Finding]:
        """Yield what was found so far, in the order of their first occurrence."""
        for finding in ledger.findings():
            if finding.test == self.test and finding.count > self._before.get(finding.key, 0):
                yield finding

    def forget(self, findings: Iterable[Finding]) -> None:
        """Remove `findings`; if they occur again they are new."""
        for finding in tuple(findings):
            ledger.forget([finding])
            self._before.pop(finding.key, None)

    def allowing(self, finding: Finding, root: Path) -> Allowed | None:
        """Return the entry by which the test allows `finding`, None if it does not."""
        return next((entry for entry in self.allowed if entry.matches(finding, root)), None)


class TestGuard:
    """The fixture ``grpc_guard``: the guard, for one test.

    ``findings`` are those of this test so far. A test that breaks the contract on purpose calls
    ``clear()`` afterwards, which forgets them, or ``allow()`` beforehand.
    """

    __test__ = False  # not a test class, though its name starts with Test

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings of this test so far, in the order of their first occurrence."""
        return tuple(self._attempt.findings())

    def clear(self) -> None:
        """Forget the findings of this test so far: they do not fail it."""
        self._attempt.forget(self.findings)

    def allow(self, rule: str, site: str = "*", *, reason: str) -> None:
        """Allow findings of `rule` (or ``*``) at call sites that match `site`: they do not fail it.

        `site` is a pattern for ``file`` or ``file:function``, relative to the rootdir.
        Raises ValueError for an unknown rule or an empty reason.
        """
        if rule != "*" and rule not in RULES:
            raise ValueError(
                f"{rule!r} is not a rule; use {', '.join(sorted(RULES))} or *"
                f"{words.did_you_mean(rule, RULES)}"
            )
        if not reason.strip():
            raise ValueError("allow(): a reason is needed")
        self._attempt.allowed.append(Allowed(rule, site, reason))
