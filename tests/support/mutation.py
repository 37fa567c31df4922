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
# By file: the lines as mutants have them, without their comments, by the reason.
_IN_PYTHON = "without a compiled core, as they are tried, the method is the function itself"
_EQUIVALENT_LINES: dict[str, dict[str, tuple[str, ...]]] = {
    "_core/advances.py": {
        "that it is there is the token": ("direction.free = False",),
    },
    "_core/entries.py": {
        "no size is less than 0": ("if 0 != self._size <= len(self._by_thread):",),
    },
    "_core/extras.py": {
        "how long the token is decides, not what is in it": (
            "FREE = ( 1, 0)",
            "FREE = ( -1, 0)",
            "FREE = (0, 1)",
            "FREE = (0, -1)",
            "GIVE_BACK = ( 1,)",
            "GIVE_BACK = ( -1,)",
        ),
        "the same sum, of one more or less": (
            "_RETIRED = 1001",
            "_RETIRED = 999",
            "while len(_retired) >= _RETIRED:",
        ),
        "it has two numbers for each frame, and stops at four": (
            "_ROUTE = 3",
            "while frame is not None and len(route) != _ROUTE:",
            "while frame is not None and len(route) is not _ROUTE:",
        ),
        "a report is composed for one more way to the same lines: a cost, no answer": (
            "_ROUTE = 5",
            "while frame is not None and len(route) <= _ROUTE:",
        ),
    },
    "_core/fields.py": {
        "that it is there is the token": ("self.free = False",),
        "nobody asks before the first operation has noted its own": (
            "self.since = 1.0",
            "self.since = -1.0",
        ),
    },
    "_core/operations.py": {
        "no instruction has this index either": ("_BEFORE_ALL = ~1", "_BEFORE_ALL = - 2"),
        "between the frame of a turn and that of contended() there is no other": (
            "return not direction.shows_frames and IDENTITIES[code] >= CONTENDED",
        ),
    },
    "_core/turns.py": {
        "the other states, CANCELLED and FINISHED, come before PENDING in the alphabet": (
            "if ticket.bell._state < _PENDING:",
            "if first.bell._state >= _PENDING:",
        ),
        "one look at the token more, and then the same wait": ("elif attempt > 2:",),
        "1 has been asked for just before": ("elif attempt >= 1:", "elif attempt > 0:"),
        "who has not waited has asked just before whether the handler has ended": (
            "if attempt > 0:",
            "if attempt >= 1:",
        ),
        "the frame that is left out is one of the guard, and never that of a turn": (
            "frame: FrameType | None = sys._getframe( 2)",
        ),
        "a side is client or server": (
            'if stream.ended and stream.side >= "server" and direction.is_shared:',
        ),
    },
    "_core/which.py": {
        "it is 0 or 1": ('return value >= "1"',),
    },
    "_guard/long_waits.py": {
        "no time is before 0 either": (
            "self._looked_at = not math.inf",
            "self._directions, self._looked_at, self.timer = {}, not math.inf, None",
        ),
    },
    "_guard/noted.py": {
        "how often it is looked for": ("_TRIES = 4", "_TRIES = 2"),
    },
    "_guard/owners.py": {
        "where a search begins": ("if last is not None and  last.done():",),
        "as much is remembered as the search needs, or less: it finds the same": (
            "_OUTERMOST_KEPT = 65",
            "_OUTERMOST_KEPT = 63",
            "if len(_outermost) == _OUTERMOST_KEPT:",
            "if len(_outermost) > _OUTERMOST_KEPT:",
            "if len(_outermost) is not _OUTERMOST_KEPT:",
            "if len(_outermost) != _OUTERMOST_KEPT:",
            "if len(_outermost) <= _OUTERMOST_KEPT:",
        ),
        "more tasks are looked at closely: it finds the same": (
            "return awaitable is not None or type(awaitable) is not idle",
        ),
        "a way is read or write": ("if handler is not None and direction.way >= Way.WRITE:",),
    },
    "_guard/roles.py": {
        "nothing comes after NOTED": (
            "yield Role(direction, operation_of(code, names), True, [*inner, *outer], come >= NOTED)",
            "seconds = held(direction) if come >= NOTED else 0.0",
        ),
        "there is one": (
            "code = frames[marked[ -1]].f_code",
            "return (marked[ -1], found[0]) if found else None",
            "return (marked[0], found[ -1]) if found else None",
        ),
        "nothing comes before COMING": ("elif come > COMING:", "if come <= COMING:"),
    },
    "_guard/torn.py": {
        "the same on Python 3.11, where they are tried": (
            "CAN_BE = sys.version_info != (3, 12)",
            "CAN_BE = sys.version_info <= (3, 12)",
            "CAN_BE = sys.version_info < ( 4, 12)",
            "CAN_BE = sys.version_info < (3, 13)",
        ),
        "the frame that is added, or left out, is one of the guard": (
            "own = next((frame for frame in outward(sys._getframe( 0)) if _owns(frame, direction)), None)",
            "own = next((frame for frame in outward(sys._getframe( 2)) if _owns(frame, direction)), None)",
        ),
    },
    "_guard/violations.py": {
        "the frame that is added, or left out, is one of the guard": (
            "caller = _caller(stream, operation, sys._getframe( 0))",
            "caller = _caller(stream, operation, sys._getframe( 2))",
            'probe = "" if direction.watch is None else direction.watch.collided(sys._getframe( 0))',
            'probe = "" if direction.watch is None else direction.watch.collided(sys._getframe( 2))',
            '"" if direction.watch is None else direction.watch.collided(sys._getframe( 0)),',
            '"" if direction.watch is None else direction.watch.collided(sys._getframe( 2)),',
            "use = LateUse(stream, sys._getframe( 0))",
            "use = LateUse(stream, sys._getframe( 2))",
        ),
        "one pair more or less is remembered: a cost, no answer": (
            "_PAIRS_KEPT = 65",
            "_PAIRS_KEPT = 63",
            "if len(turns.counted) == _PAIRS_KEPT:",
            "if len(turns.counted) > _PAIRS_KEPT:",
        ),
        "no operation comes after it in the alphabet": ('if operation >= "yield":',),
    },
    "_proxies/aio/calls.py": {
        _IN_PYTHON: ('@aio_method("_self_read")', '@aio_method("_self_write")'),
    },
    "_proxies/aio/channel.py": {
        "the slow way does the same": ("or in_force.mode >= OFF",),
        "no mode comes before it in the alphabet": ("or in_force.mode > OFF",),
    },
    "_proxies/aio/given.py": {
        _IN_PYTHON: ('@aio_method("_self_read")', '@aio_method("_self_write")'),
    },
    "_proxies/aio/messages.py": {
        _IN_PYTHON: ('@aio_method("_self_read", "_self_anext")',),
    },
    "_proxies/emptied.py": {
        "at whatever index, and for whatever object, it fails in the same words": (
            '"__getitem__": lambda x: x[ 1],',
            '"__getitem__": lambda x: x[ -1],',
            '"__setitem__": lambda x: operator.setitem(x, 1, 0),',
            '"__setitem__": lambda x: operator.setitem(x, -1, 0),',
            '"__setitem__": lambda x: operator.setitem(x, 0, 1),',
            '"__setitem__": lambda x: operator.setitem(x, 0, -1),',
            '"__delitem__": lambda x: operator.delitem(x, 1),',
            '"__delitem__": lambda x: operator.delitem(x, -1),',
            '"__instancecheck__": lambda x: isinstance( 1, x),',
            '"__instancecheck__": lambda x: isinstance( -1, x),',
        ),
    },
    "_proxies/multicallables.py": {
        "what is asked instead finds the guard off as well": ("is_alone = in_force.mode < OFF",),
        "no mode comes before it in the alphabet": ("is_alone = in_force.mode <= OFF",),
    },
    "_proxies/servers.py": {
        "one method more or less is kept: a cost, no answer": (
            "_CACHE_SIZE = 1025",
            "_CACHE_SIZE = 1023",
            "if len(twins) == _CACHE_SIZE:",
            "if len(twins) > _CACHE_SIZE:",
        ),
    },
    "_proxies/status.py": {
        "what cannot be changed needs no room for more either": (
            "@dataclasses.dataclass(frozen=True, slots=False)",
        ),
    },
    "_proxies/sync/handlers.py": {
        "an api is aio or sync": ("is_followed = api >= SYNC",),
    },
    "_process/wrapping.py": {"only type checkers see it": ("@overload",)},
}
_EQUIVALENT = {
    (file, line)
    for file, reasons in _EQUIVALENT_LINES.items()
    for lines in reasons.values()
    for line in lines
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
