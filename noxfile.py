"""Every gate of the project: ``nox`` runs them all, ``nox -s lint`` one, ``nox -l`` lists them."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.4.15"
nox.options.error_on_missing_interpreters = False  # what is not on this machine is skipped
nox.options.sessions = ["lint", "types", "tests", "coverage", "lowest", "integration"]

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")

ALL = ("-n", "auto")  # the whole suite, on every core

# Pinned: a new release of a linter must not fail an old commit.
RUFF = "ruff==0.17.6"
MYPY = "mypy==2.4.1"


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting and style."""
    session.install(RUFF)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package, strictly."""
    session.install("--editable", ".[test]", MYPY)
    session.run("mypy")


@nox.session(python=SUPPORTED)
def tests(session: nox.Session) -> None:
    """Run the test suite on each supported Python; arguments after ``--`` go to pytest."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ALL))


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the test suite and fail where a line or a branch of the package went untested."""
    session.install("--editable", ".[test]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or ALL))
    session.run("coverage", "combine")
    session.run("coverage", "report", "--fail-under=100")


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests beside the libraries that people combine with gRPC, guarded by the plugin too."""
    session.install("--editable", ".[test,compat]")
    session.run("python", "-m", "pytest", "tests/integration", *session.posargs)
    session.run("python", "-m", "pytest", "--grpc-guard", "tests/integration", *session.posargs)


@nox.session(python=SUPPORTED[0])
def lowest(session: nox.Session) -> None:
    """Run the test suite on the oldest Python with exactly the declared lower bounds."""
    declared = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    exactly = [requirement.replace(">=", "==") for requirement in declared]
    session.install("--editable", ".[test]", *exactly)
    session.run("python", "-m", "pytest", *(session.posargs or ALL))
