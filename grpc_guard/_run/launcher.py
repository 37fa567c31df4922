"""Starts a program under the guard, waits for it, and says how it went.

The program is a child process with the same stdin, stdout and stderr, so that its sys.argv,
``__main__``, ``sys.path`` and interpreter flags are what they would be without the guard.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .._adoption import Adoption, allowed_in_pyproject, read_baseline, write_baseline
from .._findings import Finding
from .._modes import Mode
from .._reports import text, writing
from .child import MODE, SPOOL
from .signals import Forwarding
from .spool import Process, read

_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")
_NOT_FOUND = 127  # what a shell says of a command that it cannot find


@dataclasses.dataclass(frozen=True)
class Settings:
    """What ``grpc-guard run`` was told."""

    command: Sequence[str]
    mode: Mode = Mode.RAISE
    report: Path | None = None
    form: str | None = None
    exit_code: int = 66
    baseline: Path | None = None
    write_baseline: bool = False


class LaunchError(Exception):
    """The program cannot be started; the message says why."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def run(settings: Settings) -> int:
    """Run the program and return the exit status; negative if a signal ended it.

    Raises LaunchError before the program starts if it cannot be found, or if a file named in
    `settings` cannot be used.
    """
    command = command_line(settings.command)
    adoption = _prepare(settings)
    with tempfile.TemporaryDirectory(prefix="grpc-guard-") as spool:
        status, pid = _wait(command, _environment(settings.mode, spool))
        processes = list(read(spool))
    findings = [finding for process in processes for finding in process.findings]
    if settings.report is not None:
        _write_reports(settings, settings.report, processes, pid)
    if settings.write_baseline and settings.baseline is not None:
        write_baseline(settings.baseline, findings, adoption.root)
        adoption = Adoption(adoption.root, known=read_baseline(settings.baseline))
    new = [finding for finding in findings if adoption.is_new(finding)]
    _say(processes, findings, new, adoption)
    failed = any(finding.severity == "error" for finding in new)
    return settings.exit_code if status == 0 and failed else status


def command_line(command: Sequence[str]) -> list[str]:
    """Return what to execute: a script and ``-m module`` run on this very interpreter."""
    program, *arguments = command
    if program == "-m":
        return [*_python(), "-m", *arguments]
    if os.path.isdir(program) or (
        os.path.isfile(program) and program.endswith((".py", ".pyw", ".pyz"))
    ):
        return [*_python(), program, *arguments]
    found = shutil.which(program)
    if found is None:
        raise LaunchError(f"{program}: neither a Python script nor a command", _NOT_FOUND)
    return [found, *arguments]


def _python() -> list[str]:
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise LaunchError(
            "this interpreter runs with -I, -E or -S and its children will too: the guard, "
            "which reaches them by PYTHONPATH, cannot"
        )
    return [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]


def _prepare(settings: Settings) -> Adoption:
    """Read and try every file that is named, while saying so can still help."""
    root = Path.cwd()
    try:
        for path in (settings.report, settings.baseline if settings.write_baseline else None):
            if path is not None:
                writing.check_writable(Path(str(path).replace("{pid}", "0")))
        known = []
        if settings.baseline is not None and not settings.write_baseline:
            known = read_baseline(settings.baseline)
        return Adoption(root, allowed_in_pyproject(root), known)
    except (OSError, ValueError) as error:
        raise LaunchError(str(error)) from None


def _environment(mode: Mode, spool: str) -> dict[str, str]:
    environment = dict(os.environ)
    if mode is not Mode.OFF:
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = _SITE if not path else os.pathsep.join((_SITE, path))
        environment |= {MODE: mode.value, SPOOL: spool}
    return environment


def _wait(command: Sequence[str], environment: dict[str, str]) -> tuple[int, int]:
    with Forwarding() as forwarding:
        try:
            child = subprocess.Popen(
                command, env=environment, preexec_fn=forwarding.in_child, close_fds=False
            )
        except OSError as error:
            raise LaunchError(f"{command[0]}: {error.strerror}", _NOT_FOUND) from None
        return forwarding.wait(child), child.pid


def _write_reports(
    settings: Settings, report: Path, processes: Sequence[Process], pid: int
) -> None:
    """Write one report of all processes, or one each where the name has ``{pid}``."""
    form = writing.format_for(report, settings.form)
    if "{pid}" in str(report):
        groups = [([process], process.pid) for process in processes]
    else:
        groups = [(list(processes), pid)]
    for group, number in groups:
        path = Path(str(report).replace("{pid}", str(number)))
        try:
            writing.write(
                path,
                form,
                [finding for process in group for finding in process.findings],
                mode=settings.mode.value,
                pid=number,
                streams=sum(process.streams for process in group),
                operations=sum(process.operations for process in group),
            )
        except OSError as error:
            print(f"grpc-guard: {path}: {error.strerror}", file=sys.stderr)  # noqa: T201


def _say(
    processes: Sequence[Process],
    findings: Sequence[Finding],
    new: Sequence[Finding],
    adoption: Adoption,
) -> None:
    lines = [
        *text.summary(
            new,
            streams=sum(process.streams for process in processes),
            operations=sum(process.operations for process in processes),
        ),
        *(f"  {line}" for line in adoption.lines(findings)),
    ]
    if not processes:
        lines = ["grpc_guard: no Python process of this program could be guarded"]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201


def end_as(status: int) -> int:
    """Return `status`, or die of the signal that ended the program, as it would have."""
    if status >= 0:
        return status
    number = -status
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number  # the signal is blocked or ignored by whoever started us
