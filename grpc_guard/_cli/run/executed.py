"""What to execute for the command of ``grpc-guard run``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from ..._catalogue.cpython import interpreter_flags

_PTH = "grpc_guard.pth"
_NOT_FOUND, NOT_EXECUTABLE = 127, 126  # a shell's exit statuses for such a command


class LaunchError(Exception):
    """The program cannot be started; the message says why."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def command_line(command: Sequence[str]) -> list[str]:
    """Return what to execute: a script and ``-m module`` run on this very interpreter."""
    program, *arguments = command
    if program == "-m" or os.path.isdir(program) or _is_script(program):
        return [*_python(), program, *arguments]
    if shutil.which(program) is None:
        raise LaunchError(f"{program}: neither a Python script nor a command", _NOT_FOUND)
    return [program, *arguments]


def _is_script(program: str) -> bool:
    """Tell whether `program` is a file for the interpreter; an executable file is a command."""
    return os.path.isfile(program) and (
        program.endswith((".py", ".pyw", ".pyz")) or not os.access(program, os.X_OK)
    )


def _python() -> list[str]:
    if sys.flags.no_site or (sys.flags.ignore_environment and not _is_installed()):
        raise LaunchError(
            f"this interpreter runs with -I, -E or -S and its children will too: the guard, "
            f"which reaches them by {_PTH} in site-packages or by PYTHONPATH, cannot"
        )
    flags = interpreter_flags()
    for name, value in sys._xoptions.items():  # it leaves out those that it does not know
        option = name if value is True else f"{name}={value}"
        if option not in flags:
            flags += ["-X", option]
    if getattr(sys.__stdout__, "write_through", False):
        flags.append("-u")
    return [sys.executable, *flags]


def _is_installed() -> bool:
    """Tell whether Python brings the guard into its processes by itself; see site/."""
    return any(os.path.isfile(os.path.join(folder, _PTH)) for folder in sys.path)
