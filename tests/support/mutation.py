"""A sample of mutants, each tried by the tests that execute it: ``nox -s mutation``.

cosmic-ray makes the mutants. Here the sample is drawn, by a seed that is said, and judged: the exit
status is 1 if fewer are killed than is asked for. Nothing is tried where the tests fail without a
mutant; what does not compile is no mutant, and only tests that fail or hang kill one. Mutants that
no test can tell from the package are left out: another operator in an annotation, which nobody
evaluates, and ``==`` for ``is`` and the like. Others that behave as the package does have a
reason each, below. covering.py knows which tests execute what.
test_instructions.py does not take part: it would kill mutants that behave as the package does.
"""

from __future__ import annotations

import argparse
import difflib
import random
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from support import covering

FOLDERS = ("_core", "_guard", "_proxies")
# Of the folders themselves, of those that use what only a snapshot, or the probe, asks them, and of
# the names that users see.
TESTS = [
    f"tests/{part}"
    for part in (
        *("core", "guard", "proxies", "lifecycle", "process", "inspection", "probe"),
        "test_public_names.py",
    )
]
SAMPLE, SEED, LEAST = 40, 13, 95.0  # mutants of each folder; per cent
_ALIKE = re.compile(
    r"core/Replace(BinaryOperator_BitOr_\w+"
    r"|ComparisonOperator_(Eq_Is|NotEq_IsNot|Is_Eq|IsNot_NotEq))$"
)
# By file, and by the line as the mutant has it, without its comment.
_EQUIVALENT = {
    ("_core/extras.py", "GIVE_BACK = ( 1,)"): "how long the token is decides, not what is in it",
    (
        "_core/turns.py",
        "if ticket.bell._state < _PENDING:",
    ): "the other states, CANCELLED and FINISHED, come before PENDING in the alphabet as well",
    ("_guard/owners.py", "if last is not None and  last.done():"): "where a search begins",
    (
        "_guard/torn.py",
        "CAN_BE = sys.version_info != (3, 12)",
    ): "the same on Python 3.11, where they are tried",
    (
        "_guard/owners.py",
        "if len(_outermost) is not _OUTERMOST_KEPT:",
    ): "as much is remembered as the search needs, or less: it finds the same",
    ("_guard/owners.py", "if len(_outermost) <= _OUTERMOST_KEPT:"): "the same",
    (
        "_guard/violations.py",
        "caller = _caller(stream, operation, sys._getframe( 0))",
    ): "the frame that is added is one of the guard",
    (
        "_guard/violations.py",
        'probe = "" if direction.watch is None else direction.watch.collided(sys._getframe( 2))',
    ): "the frame that is left out is one of the guard",
    (
        "_guard/roles.py",
        "yield Role(direction, operation_of(code, names), True, [*inner, *outer], come >= NOTED)",
    ): "nothing comes after NOTED",
    (
        "_guard/violations.py",
        "caller = _caller(stream, operation, sys._getframe( 2))",
    ): "the frame that is left out is one of the guard",
    ("_guard/violations.py", "_PAIRS_KEPT = 63"): "one pair fewer is remembered: a cost, no answer",
    ("_proxies/wrap.py", "@overload"): "only type checkers see it",
    (
        "_proxies/status.py",
        "@dataclasses.dataclass(frozen=True, slots=False)",
    ): "what cannot be changed needs no room for more either",
    (
        "_proxies/emptied.py",
        '"__setitem__": lambda x: operator.setitem(x, 1, 0),',
    ): "at whatever index, it fails in the same words",
    ("_core/extras.py", "if len(_retired) >= _RETIRED:"): "the same sum, one stream earlier",
    (
        "_core/operations.py",
        "return -1, - 0",
    ): "no operation is asked before its second instruction",
    ("_core/operations.py", "return -1, +1"): "no operation is asked before its second instruction",
    ("_core/operations.py", "return -1, not 1"): "the same",
    ("_core/operations.py", "return -1, - 2"): "the same",
    (
        "_core/extras.py",
        "_retired.append(sum(_retired.popleft() for _ in range(_RETIRED ^ 8)))",
    ): "the same sum, of more of them at a time",
    ("_core/turns.py", "elif attempt > 2:"): "one look at the token more, and then the same wait",
    (
        "_core/turns.py",
        "if attempt > 0:",
    ): "who has not waited has asked just before whether the handler has ended",
    (
        "_core/turns.py",
        "frame: FrameType | None = sys._getframe( 2)",
    ): "the frame that is left out is one of the guard, and never that of a turn",
}
_PATIENCE = 5  # times as long as without a mutant: only what hangs outside the tests comes to it
_CONFIGURATION = """
[cosmic-ray]
module-path = "grpc_guard/{folder}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m support.covering"

[cosmic-ray.distributor]
name = "local"
"""


def tried(folder: str, size: int, seed: int, timeout: float) -> tuple[int, int]:
    """Try a sample of the mutants of `folder`; return how many count, and how many of them survived."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    configuration, session = f"{folder}.toml", f"{folder}.sqlite"
    Path(configuration).write_text(
        _CONFIGURATION.format(folder=folder, python=sys.executable, timeout=timeout)
    )
    _run("cosmic-ray", "init", "--force", configuration, session)
    with use_db(session, WorkDB.Mode.open) as database:
        items = sorted(database.work_items, key=_place)
        fit = [item for item in items if not _ALIKE.match(item.mutations[0].operator_name)]
        drawn = random.Random(seed).sample(fit, min(size, len(fit)))
        changes = {item.job_id: _change(item.mutations[0]) for item in drawn}
        programs = {job: change for job, change in changes.items() if change is not None}
        chosen = {job for job, change in programs.items() if change not in _EQUIVALENT}
        for item in items:
            if item.job_id not in chosen:
                database.set_result(item.job_id, WorkResult(WorkerOutcome.SKIPPED))
    _run("cosmic-ray", "exec", configuration, session)
    with use_db(session, WorkDB.Mode.open) as database:
        results = [result for job, result in database.results if job in chosen]
    for result in results:
        if result.worker_outcome is not WorkerOutcome.NORMAL or (
            result.test_outcome is TestOutcome.INCOMPETENT
        ):  # cosmic-ray counts it as killed
            sys.exit(f"{folder}: a mutant was not tried: {result.output}")
    survivors = [result for result in results if result.test_outcome is TestOutcome.SURVIVED]
    _say(
        f"{folder}: {len(drawn)} of {len(fit)} mutants drawn, {len(drawn) - len(programs)} do not "
        f"compile, {len(programs) - len(chosen)} behave as the package does, {len(results)} tried, "
        f"{len(survivors)} survived"
    )
    for survivor in survivors:
        _say(survivor.diff)
    return len(results), len(survivors)


def _change(mutation: Any) -> tuple[str, str] | None:
    """Return the file and the line of a mutant: as it is then, or what has gone.

    None if it does not compile: no other operator may stand for the ``*`` of a signature.
    """
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    before = mutation.module_path.read_text()
    after = mutate_code(before, operator, mutation.occurrence)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as ``is`` before a literal: no test is needed
        try:
            compile(after, str(mutation.module_path), "exec", dont_inherit=True)
        except SyntaxError:
            return None
    lines = [*difflib.unified_diff(before.splitlines(), after.splitlines(), n=0)][2:]
    changed = [line for line in lines if line[0] in "+-" and line[1:].strip()]
    line = min(changed, key=lambda line: line[0] != "+")  # the first that there is then, if any
    file = mutation.module_path.relative_to("grpc_guard").as_posix()
    return file, line[1:].partition("  #")[0].strip()


def _place(item: Any) -> tuple[Any, ...]:
    mutation = item.mutations[0]
    return (
        str(mutation.module_path),
        mutation.start_pos,
        mutation.operator_name,
        mutation.occurrence,
    )


def _run(program: str, *arguments: str) -> None:
    subprocess.run([str(Path(sys.executable).with_name(program)), *arguments], check=True)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Try a sample of each folder that the command line names; in a copy of the project only."""
    parser = argparse.ArgumentParser(prog="python -m support.mutation")
    parser.add_argument(
        "folders", nargs="*", metavar="FOLDER", help=f"default: {', '.join(FOLDERS)}"
    )
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"of each folder; {SAMPLE}")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the sample; {SEED}")
    parser.add_argument("--least", type=float, default=LEAST, help=f"per cent killed; {LEAST:g}")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if folder not in FOLDERS:
            parser.error(f"{folder!r} is not tried; choose from {', '.join(FOLDERS)}")
    begun = time.monotonic()
    covering.record(TESTS, FOLDERS)
    seconds = time.monotonic() - begun
    _say(f"the tests take {seconds:.0f} s without a mutant")
    mutants = survivors = 0
    for folder in arguments.folders or FOLDERS:
        made, survived = tried(folder, arguments.sample, arguments.seed, _PATIENCE * seconds)
        mutants, survivors = mutants + made, survivors + survived
    killed = 100 * (mutants - survivors) / mutants
    _say(f"{mutants} mutants, seed {arguments.seed}: {killed:.1f} % killed")
    sys.exit(killed < arguments.least)


if __name__ == "__main__":
    main()
