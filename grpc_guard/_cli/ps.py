"""``grpc-guard ps``: the processes of this user that can be asked."""

from __future__ import annotations

import argparse

from .._inspect.asking import ask_all
from .._inspect.tables import processes
from .console import complain, write_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``grpc-guard ps`` takes none."""


def main(arguments: argparse.Namespace) -> int:
    """Print a table of the processes and return the exit status, 1 if there are no processes.

    Files that killed processes have left behind are removed.
    """
    answers = list(ask_all())
    if not answers:
        complain(
            "grpc-guard ps: no process can be asked; those under grpc-guard run or pytest "
            "--grpc-guard can, and those with GRPC_GUARD_INSPECT=1 and the guard on"
        )
        return 1
    write_lines(processes(answers))
    return 0
