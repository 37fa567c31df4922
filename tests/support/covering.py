"""Which tests execute which lines of the package: what mutation.py tries a mutant by.

As a plugin of pytest this module has coverage note the test that runs. As a program it finds the
function that a mutant has changed, and runs the tests that execute it, those first that execute the
changed line itself. Code that is executed at an import is tried by all tests.
"""

from __future__ import annotations

import ast
import difflib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

Function = ast.FunctionDef | ast.AsyncFunctionDef

# In the folder where the mutants are made: what the tests execute, and the package as it was.
_RECORD, _UNCHANGED = Path("mutants.json"), Path("mutants.unchanged")
_AT_IMPORT = -1  # stands for no test
_PYTEST = ("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider")
_NOT_FOR_MUTANTS = "--ignore=tests/core/test_instructions.py"  # it would kill those that are alike


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Have what is executed from now on counted as that of `item`."""
    import coverage

    measuring = coverage.Coverage.current()
    assert measuring is not None
    measuring.switch_context(item.nodeid)
    return (yield)


def record(tests: Sequence[str], folders: Sequence[str]) -> None:
    """Run `tests` without a mutant, and keep what they execute of `folders`; exit if one fails."""
    from coverage import CoverageData

    configuration, data = Path("mutants.coveragerc"), Path("mutants.coverage")
    source = ",".join(f"grpc_guard/{folder}" for folder in folders)
    configuration.write_text(f"[run]\nsource = {source}\ndata_file = {data}\n")
    measured = ("-m", "coverage", "run", f"--rcfile={configuration}")
    arguments = (*_PYTEST, _NOT_FOR_MUTANTS, *tests)
    early = ("-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning")
    if _python(*measured, *arguments, "-x", "-p", "support.covering", *early).returncode:
        sys.exit("the tests fail without a mutant")
    # A name that is another one in each process could not be asked for: that would fail each time.
    listed = _python(*arguments, "--collect-only", stdout=subprocess.PIPE, text=True).stdout
    names = [line for line in listed.splitlines() if "::" in line]
    places = {name: place for place, name in enumerate(names)} | {"": _AT_IMPORT}
    shutil.rmtree(_UNCHANGED, ignore_errors=True)
    shutil.copytree("grpc_guard", _UNCHANGED)
    known = CoverageData(str(data))
    known.read()
    package = Path("grpc_guard").resolve()
    lines = {
        str(Path(file).relative_to(package)): {
            line: sorted(places[name] for name in contexts if name in places)
            for line, contexts in known.contexts_by_lineno(file).items()
        }
        for file in known.measured_files()
    }
    _RECORD.write_text(json.dumps({"tests": names, "lines": lines}))


def tests_of_mutant() -> list[str]:
    """Return the tests that the mutant is tried by, in this order."""
    known = json.loads(_RECORD.read_text())
    file, lines, function = _changed()
    executed = known["lines"].get(file, {})
    first = _executing(executed, lines)
    chosen = set(range(len(known["tests"])))
    if function is not None:
        # All of an operation is on one line, that of its first decorator: see _core/operations.py.
        top = min(node.lineno for node in (function, *function.decorator_list))
        end = function.end_lineno or function.lineno
        if _AT_IMPORT not in _executing(executed, range(function.body[0].lineno, end + 1)):
            chosen &= _executing(executed, range(top, end + 1))
    return [known["tests"][place] for place in sorted(chosen, key=lambda at: (at not in first, at))]


def _executing(executed: dict[str, list[int]], lines: range) -> set[int]:
    return {place for line in lines for place in executed.get(str(line), ())}


def _changed() -> tuple[str, range, Function | None]:
    """Return the file that was changed, its lines there, and the function that they are in."""
    for file in sorted(_UNCHANGED.rglob("*.py")):
        name = str(file.relative_to(_UNCHANGED))
        before, after = file.read_text(), Path("grpc_guard", name).read_text()
        if before != after:
            matcher = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), False)
            changes = [change for change in matcher.get_opcodes() if change[0] != "equal"]
            lines = range(changes[0][1] + 1, changes[-1][2] + 1)
            return name, lines, _function_around(ast.parse(before), lines[0])
    sys.exit("there is no mutant")


def _function_around(tree: ast.AST, line: int) -> Function | None:
    """Return the innermost function around `line`; None for a line of a module or a class."""
    innermost = None
    for node in ast.walk(tree):  # outer ones come first
        if isinstance(node, Function) and node.lineno <= line <= (node.end_lineno or 0):
            innermost = node
    return innermost


def _python(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, **options)


def main() -> None:
    """Try the mutant that there is now; the exit status is that of the tests."""
    tests = tests_of_mutant()
    Path("mutants.tests").write_text("\n".join(tests))
    sys.stdout.write(f"tried by {len(tests)} tests\n")
    sys.stdout.flush()
    run = _python(*_PYTEST, "-x", "--timeout=60", _NOT_FOR_MUTANTS, "@mutants.tests")
    sys.exit(run.returncode if tests else 0)


if __name__ == "__main__":
    main()
