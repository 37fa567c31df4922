"""A sample of mutants, each tried by the tests of its folder: ``nox -s mutation``.

cosmic-ray makes the mutants and runs the tests. Here the sample is drawn, by a seed that is said, and
judged: the exit status is 1 if fewer are killed than is asked for. Mutants that no test can tell
from the package are left out: another operator in an annotation, which nobody evaluates, and
``==`` for ``is`` and the like. test_instructions.py does not take part: it counts instructions, and
would kill mutants that behave as the package does.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from support import covering

TESTS = {  # of each folder of the package
    "_core": "tests/core tests/guard",
    "_guard": "tests/core tests/guard",
    "_proxies": "tests/core tests/guard tests/proxies",
}
SAMPLE, SEED, LEAST = 40, 13, 95.0  # mutants of each folder; per cent
_ALIKE = re.compile(
    r"core/Replace(BinaryOperator_BitOr_\w+"
    r"|ComparisonOperator_(Eq_Is|NotEq_IsNot|Is_Eq|IsNot_NotEq))$"
)
_PATIENCE = 5  # times as long as without a mutant: only what hangs outside the tests comes to it
_CONFIGURATION = """
[cosmic-ray]
module-path = "grpc_guard/{folder}"
timeout = {timeout}
excluded-modules = []
test-command = "{python} -m support.covering {folder}"

[cosmic-ray.distributor]
name = "local"
"""


def tried(folder: str, size: int, seed: int) -> tuple[int, int]:
    """Try a sample of the mutants of `folder`; return how many there were, and how many survived."""
    from cosmic_ray.work_db import WorkDB, use_db
    from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

    configuration, session = f"{folder}.toml", f"{folder}.sqlite"
    begun = time.monotonic()
    covering.record(folder, TESTS[folder])
    seconds = time.monotonic() - begun
    _say(f"{folder}: its tests take {seconds:.0f} s without a mutant")
    Path(configuration).write_text(
        _CONFIGURATION.format(folder=folder, python=sys.executable, timeout=_PATIENCE * seconds)
    )
    _run("cosmic-ray", "init", "--force", configuration, session)
    with use_db(session, WorkDB.Mode.open) as database:
        items = sorted(database.work_items, key=_place)
        fit = [item for item in items if not _ALIKE.match(item.mutations[0].operator_name)]
        chosen = {item.job_id for item in random.Random(seed).sample(fit, min(size, len(fit)))}
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
    _say(f"{folder}: {len(results)} of {len(fit)} mutants tried, {len(survivors)} survived")
    for survivor in survivors:
        _say(survivor.diff)
    return len(results), len(survivors)


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
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help=f"default: {', '.join(TESTS)}")
    parser.add_argument("--sample", type=int, default=SAMPLE, help=f"of each folder; {SAMPLE}")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the sample; {SEED}")
    parser.add_argument("--least", type=float, default=LEAST, help=f"per cent killed; {LEAST:g}")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if folder not in TESTS:
            parser.error(f"{folder!r} has no tests here; choose from {', '.join(TESTS)}")
    mutants = survivors = 0
    for folder in arguments.folders or TESTS:
        made, survived = tried(folder, arguments.sample, arguments.seed)
        mutants, survivors = mutants + made, survivors + survived
    killed = 100 * (mutants - survivors) / mutants
    _say(f"{mutants} mutants, seed {arguments.seed}: {killed:.1f} % killed")
    sys.exit(killed < arguments.least)


if __name__ == "__main__":
    main()
