"""Every gate of the project: ``nox`` runs them all, ``nox -s lint`` one, ``nox -l`` lists them.

``coverage`` is not a gate at present: see there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.error_on_missing_interpreters = False  # a Python that is not on this machine is skipped
nox.options.sessions = [
    *("lint", "types", "pyright", "tests", "lowest", "integration", "agents"),
    *("docs", "package", "wheel"),
]

SUPPORTED = ("3.11", "3.12", "3.13", "3.14", "3.15")

ALL = ("-n", "auto")  # the whole suite, on every core

# Installations compile the core where there is a compiler, and tests run what there is. Both can be
# told: the compiled core or none, and the core in Python (said to tests alone: installations share
# the library of a clone).
COMPILED = {"GRPC_GUARD_PURE": "0"}
PURE = {"GRPC_GUARD_PURE": "1"}

# Pinned: a new release of a linter must not fail an old commit.
RUFF = "ruff==0.17.6"
MYPY = "mypy==2.4.1"
PYRIGHT = "pyright==1.1.414"
STUBS = (
    *("types-grpcio==1.85.0.20261028", "types-gevent==26.9.0.20261006"),
    *("celery-types==0.26.0", "django-stubs==6.1.2"),
)
IMPORT_LINTER = "import-linter==2.17"
COSMIC_RAY = "cosmic-ray==8.7.0"

EXAMPLES = Path(__file__).parent.resolve() / "docs" / "examples"
OF_EXAMPLES = (  # what they import
    *("opentelemetry-instrumentation-grpc>=0.66b2", "uvloop>=0.19"),
    *("celery>=5.4", "ddtrace>=4.16", "django>=5.2", "fastapi>=0.115", "prometheus-client>=0.20"),
)


def typed_examples() -> list[str]:
    """Return the programs whose types are checked: all that are not generated."""
    return [str(file) for file in sorted(EXAMPLES.rglob("*.py")) if "_pb2" not in file.stem]


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting, style, and that imports go downward only."""
    session.install("--editable", ".", RUFF, IMPORT_LINTER)
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the package and of the examples, strictly, with the stubs of libraries."""
    session.install("--editable", ".[test]", MYPY, *STUBS, *OF_EXAMPLES)
    session.run("mypy")
    cache = EXAMPLES.parents[1] / ".mypy_cache"
    where = {"MYPYPATH": str(EXAMPLES)}
    for folder in (EXAMPLES, *EXAMPLES.iterdir()):  # each by itself: programs have equal names
        programs = [program for program in typed_examples() if Path(program).parent == folder]
        if programs:
            session.chdir(folder)
            session.run(
                "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", *programs, env=where
            )


@nox.session
def pyright(session: nox.Session) -> None:
    """Check the types of the examples by pyright, which brings Node.js along where there is none."""
    session.install("--editable", ".[test]", PYRIGHT, *STUBS, *OF_EXAMPLES)
    session.run("pyright", *typed_examples())


def _copied(session: nox.Session) -> None:
    """Go to a copy of the project: what is changed or compiled there comes to no other session."""
    copy = Path(session.create_tmp()).resolve() / "copy"
    del session.env["TMPDIR"]  # set by create_tmp(): tests are not to find this project above them
    shutil.rmtree(copy, ignore_errors=True)
    unwanted = shutil.ignore_patterns(
        *(".git", ".nox", ".venv", ".*_cache", "_build"), "*.so", "*.pyd"
    )
    shutil.copytree(".", copy, ignore=unwanted)
    session.chdir(copy)


@nox.session(python=SUPPORTED)
def tests(session: nox.Session) -> None:
    """Run the test suite on each supported Python; arguments after ``--`` go to pytest."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ALL))


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the test suite with each core; fail if neither has run a line or branch of the package.

    No gate at present: lines are not covered that run in a child that is killed, or on a busy machine.
    Where there is no C compiler, those that run with the compiled core alone are not covered either.
    """
    session.install("--editable", ".[test]")
    session.run("coverage", "erase")
    for env in (PURE, COMPILED) if shutil.which("cc") else (PURE,):
        session.run("coverage", "run", "-m", "pytest", *(session.posargs or ALL), env=env)
    session.run("coverage", "combine")
    session.run("coverage", "report", "--fail-under=100")


@nox.session
def storm(session: nox.Session) -> None:
    """Interrupt, cancel, fork, stream and refuse for some minutes, and count what is left. No gate."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "support.storm", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session(python=SUPPORTED)
def compiled(session: nox.Session) -> None:
    """Run the test suite with the compiled core or none at all. No gate; needs a C compiler."""
    _copied(session)
    session.install("--editable", ".[test]", env=COMPILED)
    session.run("python", "-m", "pytest", *(session.posargs or ALL), env=COMPILED)


@nox.session(python=SUPPORTED)
def leaks(session: nox.Session) -> None:
    """Do what the compiled core does a million times, and count what is left. Some minutes, no gate."""
    _copied(session)
    session.install("--editable", ".[test]", env=COMPILED)
    session.chdir("tests")
    session.run("python", "-m", "support.hardship", "leaks", *session.posargs, env=COMPILED)
    session.run("python", "-m", "support.hardship", "memory", env=COMPILED)


@nox.session(python=SUPPORTED)
def sanitize(session: nox.Session) -> None:
    """Run the tests of the compiled core, made with AddressSanitizer and UBSan. No gate; needs gcc."""
    checks = "-fsanitize=address,undefined -fno-sanitize-recover=undefined"
    made_so = {**COMPILED, "CFLAGS": f"{checks} -O1 -g", "LDFLAGS": checks}
    _copied(session)
    session.install("--editable", ".[test]", env=made_so)
    preloaded = [  # the second one for gevent, which throws
        str(session.run("gcc", f"-print-file-name={name}", external=True, silent=True)).strip()
        for name in ("libasan.so", "libstdc++.so")
    ]
    env = {
        **COMPILED,
        "LD_PRELOAD": " ".join(preloaded),
        "ASAN_OPTIONS": "detect_leaks=0",  # CPython leaves much; the session leaks counts ours
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": "tests",
    }
    session.run("python", "-m", "support.hardship", "leaks", "--times", "1000", env=env)
    session.run("python", "-m", "support.hardship", "memory", env=env)
    folders = ("core", "guard", "inspection", "lifecycle", "proxies")
    tests = session.posargs or ["-n0", *(f"tests/{folder}" for folder in folders)]
    not_here = [
        # Two messages with the address of an object: here the second object gets another one.
        "--deselect=tests/proxies/test_handlers.py::test_what_is_no_generic_handler",
        # AddressSanitizer does not know of stacks that greenlet copies.
        *("-k", "not greenlet and not gevent"),
    ]
    session.run("python", "-m", "pytest", *not_here, *tests, env=env)


@nox.session(python=SUPPORTED[0])
def mutation(session: nox.Session) -> None:
    """Change the package in a sample of places, one at a time, and see a test fail. No gate."""
    _copied(session)
    session.install("--editable", ".[test]", COSMIC_RAY)
    env = {**PURE, "PYTHONPATH": "tests"}
    session.run("python", "-m", "support.mutation", *session.posargs, env=env)


@nox.session
def integration(session: nox.Session) -> None:
    """Run the tests beside the libraries that people combine with gRPC, guarded by the plugin too."""
    session.install("--editable", ".[test,compat]")
    session.run("python", "-m", "pytest", "tests/integration", *session.posargs)
    session.run("python", "-m", "pytest", "--grpc-guard", "tests/integration", *session.posargs)
    session.run("python", "-m", "pytest", "tests/docs", "-k", "example_with_a_library")


@nox.session
def agents(session: nox.Session) -> None:
    """Run the tests beside the agents that production runs: before, after and under each."""
    session.install("--editable", ".[test,agents]")
    session.run("python", "-m", "pytest", *(session.posargs or (*ALL, "tests/integration/agents")))


@nox.session(python=SUPPORTED[0])
def lowest(session: nox.Session) -> None:
    """Run the test suite on the oldest Python, with exactly the declared lower bounds and no C of ours.

    What concerns the proxies runs a second time without wrapt's C code.
    """
    declared = nox.project.load_toml("pyproject.toml")["project"]["dependencies"]
    exactly = [requirement.replace(">=", "==") for requirement in declared]
    session.install("--editable", ".[test]", *exactly)
    session.run("python", "-m", "pytest", *(session.posargs or ALL), env=PURE)
    if not session.posargs:
        without_c = {**PURE, "WRAPT_DISABLE_EXTENSIONS": "1"}
        session.run("python", "-m", "pytest", *ALL, "tests/proxies", env=without_c)


@nox.session
def docs(session: nox.Session) -> None:
    """Check the English; build the site, warnings being errors; check its links and its search."""
    session.install("--editable", ".[docs]")
    session.run("codespell", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "grpc_guard")
    session.run("python", "docs/check_prose.py")
    session.run(
        *("python", "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky"),
        *("--fresh-env", "--quiet", "docs", "docs/_build/html"),
    )
    session.run("python", "docs/check_site.py", "docs/_build/html")


@nox.session
def package(session: nox.Session) -> None:
    """Build sdist and wheel, and check their contents and metadata."""
    session.install("--editable", ".[test]", "build", "hatchling>=1.24", "twine")
    session.run("python", "-m", "pytest", "tests/test_package.py")
    built = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--no-isolation", "--outdir", str(built))
    session.run("twine", "check", "--strict", *map(str, built.iterdir()))


@nox.session(python=SUPPORTED)
def wheel(session: nox.Session) -> None:
    """Install the wheel, and nothing else, on each supported Python, and play the demo.

    Where there is a C compiler, it does so a second time with the compiled core.
    """
    cores = {"py": PURE, "c": COMPILED}
    for core, env in cores.items():
        if env and shutil.which("cc") is None:
            continue
        built = Path(session.create_tmp()).resolve() / core
        shutil.rmtree(built, ignore_errors=True)
        command = ("python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(built), ".")
        session.run(*command, env=env)
        session.install("--force-reinstall", *map(str, built.glob("*.whl")))
        with session.chdir(built):  # where no source is in the way
            session.run("grpc-guard", "--version", env=env)
            session.run("grpc-guard", "demo", env=env)
