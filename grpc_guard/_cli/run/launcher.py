"""Starts a program under the guard, waits for it, and says how it went.

The program is a child process with the same stdin, stdout and stderr, so that its sys.argv,
``__main__``, ``sys.path`` and interpreter flags are what they would be without the guard.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..._catalogue.modes import Mode
from ..._catalogue.settings import COLOR, INSPECT, MODE, PROBE, SPOOL
from ..._catalogue.thresholds import to_environment
from ..._findings import wording
from ..._probe.memory import Memory, ProbeFileError, load, save
from ..._probe.pairs import Pair
from ..._probe.settings import ProbeSettings
from ..._reports import writing
from ..._reports.adoption import Adoption, allowed_in_pyproject
from ..._reports.baseline import AdoptionError, read_baseline, read_if_there
from ..._reports.blocks import of_summary
from ..._reports.looks import look_of, text_of
from ..._reports.process import Process
from ..._reports.run import GuardedRun
from ..._reports.summary import UNHEARD
from ..console import complain
from .executed import NOT_EXECUTABLE, LaunchError, command_line
from .progress import Progress
from .signals import Forwarding, Ignoring, handling, name_of
from .spool import read, remind

_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")
_GAP = "a run of one program need not find all"


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of ``grpc-guard run``."""

    command: Sequence[str]
    mode: Mode = Mode.RAISE
    reports: Sequence[Path] = ()
    form: str | None = None
    exit_code: int = 66
    baseline: Path | None = None
    write_baseline: Path | None = None
    probe: ProbeSettings | None = None
    probe_file: Path | None = None
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    dump_after: float | None = None  # seconds
    color: str | None = None


def run(settings: Settings) -> int:
    """Run the program and return the exit status; negative if a signal ended it.

    Raises LaunchError before the program starts if it cannot be found, or if a file named in
    `settings` cannot be used.
    """
    command = command_line(settings.command)
    adoption = _prepare(settings)
    memory = _recall(settings)
    with handling() as signals:  # to the end: the second of two must not cost the report
        # A process that the program left behind may still write to the spool while it is removed.
        with tempfile.TemporaryDirectory(prefix="grpc-guard-", ignore_cleanup_errors=True) as spool:
            if memory is not None:
                remind(spool, memory)
            progress = Progress(spool, complain)
            environment = _environment(settings, spool)
            status, pid = _wait(command, environment, signals, progress, settings.dump_after)
            processes = _ended(read(spool), pid, status)
        for process in processes:
            process.in_progress = progress.answer_of(process.pid)
        outcome = GuardedRun(adoption, processes, is_probed=settings.probe is not None, gap=_GAP)
        if memory is not None:
            _remember(settings, memory, outcome.pairs)
        outcome = _reported(settings, outcome, pid)
    return settings.exit_code if status == 0 and outcome.failing else status


def _reported(settings: Settings, outcome: GuardedRun, pid: int) -> GuardedRun:
    """Write the files that are wanted, and the summary; return the run by which it is judged."""
    written: list[str] = []
    if settings.write_baseline is not None:
        with _told():
            outcome, written = _write_baseline(settings.write_baseline, outcome)
    for report in settings.reports:
        _write_reports(settings, report, outcome, pid)
    if settings.mode is not Mode.OFF:
        _say(outcome, written, settings.color)
    return outcome


def _prepare(settings: Settings) -> Adoption:
    """Read and check every file that is named, while an error can still stop the run."""
    root = Path.cwd()
    for option, path in (
        *(("--report", report) for report in settings.reports),
        ("--write-baseline", settings.write_baseline),
        ("--probe-file", settings.probe_file),
    ):
        try:
            if path is not None:
                writing.check_writable(_for_process(path, 0))
        except OSError as error:
            raise LaunchError(f"{option}: {path}: {error.strerror}") from None
    try:
        known = [] if settings.baseline is None else read_baseline(settings.baseline, "--baseline")
        if settings.write_baseline is not None:
            read_if_there(settings.write_baseline, "--write-baseline")
        return Adoption(root, allowed_in_pyproject(root), known)
    except ValueError as error:
        raise LaunchError(str(error)) from None


def _recall(settings: Settings) -> Memory | None:
    """Return what the probe learnt in earlier runs; None if it is off."""
    if settings.probe is None:
        return None
    memory = Memory()
    try:
        if settings.probe_file is not None:
            memory = load(settings.probe_file, Path.cwd())
    except ProbeFileError as error:
        complain(
            f"grpc_guard: --probe-file: {settings.probe_file}: {error}; it is left as it is, and not used"
        )
    complain(f"grpc_guard: {wording.probing(settings.probe.seed, memory.runs + 1)}")
    return memory


def _remember(settings: Settings, memory: Memory, learnt: Sequence[Pair]) -> None:
    """Write what was learnt, unless the file is not a probe file."""
    if settings.probe_file is None:
        return
    with contextlib.suppress(ProbeFileError), _told():
        load(settings.probe_file, Path.cwd())
        save(memory.merged(learnt), settings.probe_file, Path.cwd())


def _for_process(path: Path, pid: int) -> Path:
    return Path(str(path).replace("{pid}", str(pid)))


def _environment(settings: Settings, spool: str) -> dict[str, str]:
    environment = os.environ | {MODE: settings.mode.value}
    if settings.probe is not None or PROBE in environment:
        environment[PROBE] = "off" if settings.probe is None else str(settings.probe)
    if settings.mode is not Mode.OFF:
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = _SITE if not path else os.pathsep.join((_SITE, path))
        environment[SPOOL] = spool
        environment.setdefault(INSPECT, "1")
        environment |= to_environment(settings.thresholds)
        if settings.color is not None:
            environment[COLOR] = settings.color
    return environment


def _wait(
    command: Sequence[str],
    environment: dict[str, str],
    signals: Forwarding | Ignoring,
    progress: Progress,
    dump_after: float | None,
) -> tuple[int, int]:
    try:
        child = subprocess.Popen(command, env=environment, close_fds=False, **signals.options())
    except OSError as error:
        raise LaunchError(f"{command[0]}: {error.strerror}", NOT_EXECUTABLE) from None
    timer = progress.ask_after(dump_after)
    try:
        return signals.wait(child, progress.ask), child.pid
    finally:
        if timer is not None:
            timer.cancel()


def _write_reports(settings: Settings, report: Path, outcome: GuardedRun, pid: int) -> None:
    """Write one report of all processes, or one each where the name has ``{pid}``."""
    parts = [(pid, outcome)]
    if "{pid}" in str(report):
        parts = [
            (process.pid, dataclasses.replace(outcome, processes=[process]))
            for process in outcome.processes
        ]
    form = writing.format_for(report, settings.form)
    for number, part in parts:
        with _told():
            content = part.report(settings.mode.value, number)
            writing.write(content, _for_process(report, number), form)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Report that a file could not be written, at the end, when there is nothing left to stop."""
    try:
        yield
    except OSError as error:
        complain(f"grpc_guard: {error.filename}: {error.strerror}")
    except AdoptionError as error:  # a baseline that became invalid while the program ran
        complain(f"grpc_guard: {error}; it is left as it is")


def _write_baseline(path: Path, outcome: GuardedRun) -> tuple[GuardedRun, list[str]]:
    """Write what was found to `path`; return the run that knows it, and the lines to print."""
    merged = outcome.merged_into(path, "--write-baseline")
    merged.write(path)
    return outcome.knowing(merged), list(merged.lines(path))


def _ended(processes: list[Process], pid: int, status: int) -> list[Process]:
    """Return `processes`, of which `pid` has ended, perhaps silently; `status` < 0 is a signal."""
    for process in processes:
        if process.pid == pid and not process.has_ended:
            if status >= 0:
                process.unguarded = UNHEARD
            else:
                process.cut_off = name_of(-status)
    return processes


def _say(outcome: GuardedRun, written: Sequence[str], color: str | None) -> None:
    lines = ["grpc_guard: no Python process of the program was guarded: is it installed there?"]
    if outcome.processes:
        lines = [*outcome.summary(), *(f"  {note}" for note in (*outcome.notes(), *written))]
    look = None if sys.stderr is None else look_of(sys.stderr, color)
    if look is None:
        complain("\n".join(lines))
    else:
        complain(text_of(of_summary(lines), look, sys.stderr.encoding).removesuffix("\n"))


def end_as(status: int) -> int:
    """Return `status`, or die of the signal that ended the program, as the program did."""
    if status < 0:  # pragma: no cover  # as below
        _die_of(-status)
    return status


def _die_of(number: int) -> None:  # pragma: no cover  # no coverage is saved after it
    import resource

    # The core dump of interest is the program's, which ours would overwrite.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)
