"""Whether all tests of a project ran: only then is an entry that found nothing removable."""

from __future__ import annotations

import pytest

_SOME_ONLY = {  # options by which pytest leaves out tests, perhaps without reporting that
    "lf": "--lf",
    "stepwise": "--stepwise",
    "collectonly": "--collect-only",
    "setuponly": "--setup-only",
    "setupplan": "--setup-plan",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
}


class Completeness:
    """Whether a session left something out: ``gap`` is the first of it in words, None if nothing.

    It is a plugin of pytest, because only hooks report some of that.
    """

    def __init__(self) -> None:
        self.gap: str | None = None

    def miss(self, why: str | None) -> None:
        """Note that something was left out, if anything was."""
        self.gap = self.gap or why

    def asked_for(self, config: pytest.Config) -> None:
        """Note whether the command line asks for all tests."""
        for name, option in _SOME_ONLY.items():
            if config.getoption(name, None):
                self.miss(f"with {option} not all tests run")
        if config.args_source is not config.ArgsSource.TESTPATHS and not _are_all(config):
            self.miss("not all tests were asked for")

    def ended(self, status: int) -> None:
        """Note how the session ended."""
        if status != pytest.ExitCode.OK:
            self.miss("the tests did not all pass")

    # Hooks of pytest

    def pytest_deselected(self) -> None:
        self.miss("tests were deselected")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look(report)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look(report)

    def _look(self, report: pytest.CollectReport | pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.miss("tests were skipped")


def _are_all(config: pytest.Config) -> bool:
    """Tell whether the arguments are the rootdir, or all folders with tests."""
    asked = {(config.invocation_params.dir / argument).resolve() for argument in config.args}
    testpaths = {(config.rootpath / path).resolve() for path in config.getini("testpaths")}
    return config.rootpath.resolve() in asked or (testpaths != set() and testpaths <= asked)
