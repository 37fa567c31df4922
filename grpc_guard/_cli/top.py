"""``grpc-guard top``: who holds the streams of a process, again and again."""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import time

from .._inspect.asking import NoAnswerError
from .._inspect.tables import holders
from .._reports.looks import is_terminal
from . import targets
from .console import complain, write_lines

_CLEAR = "\x1b[H\x1b[2J"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``top`` takes."""
    targets.add_arguments(parser)
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=targets.seconds,
        default=1.0,
        help="the time between two snapshots (default: %(default)g)",
    )
    parser.add_argument(
        "--count", metavar="N", type=_count, help="print N snapshots (default: until Ctrl-C)"
    )


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) == 0:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number of snapshots, 1 or more")
    return int(value)


def main(arguments: argparse.Namespace) -> int:
    """Print the table again and again; return the exit status: 1 when there is no answer."""
    looks = itertools.count() if arguments.count is None else range(arguments.count)
    try:
        ask = targets.asker(arguments)
        for number in looks:
            if number:
                time.sleep(arguments.interval)
            _show(list(holders(ask())), is_first=not number)
    except KeyboardInterrupt:
        return 0
    except (NoAnswerError, targets.TargetError) as error:
        complain(f"grpc-guard top: {error}")
        return 1 if isinstance(error, NoAnswerError) else 2
    return 0


def _show(lines: list[str], *, is_first: bool) -> None:
    """Print `lines`: on a terminal, as many as fit, in place of the previous ones."""
    between = "" if is_first else "\n"
    if is_terminal(sys.stdout):
        size = shutil.get_terminal_size()
        lines = [line[: size.columns - 1] for line in lines[: size.lines - 1]]
        between = _CLEAR
    write_lines(lines, between)
