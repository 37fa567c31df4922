"""``grpc-guard dump``: everything that a process knows about its streams, like a thread dump."""

from __future__ import annotations

import argparse
import json

from .._inspect.asking import NoAnswerError
from .._inspect.wording import dump
from .._reports.document import snapshot_to_dict
from . import targets
from .console import complain, write_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``dump`` takes."""
    targets.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def main(arguments: argparse.Namespace) -> int:
    """Print the answer and return the exit status: 1 without one, 2 for a usage error."""
    try:
        snapshot = targets.asker(arguments)()
    except (NoAnswerError, targets.TargetError) as error:
        complain(f"grpc-guard dump: {error}")
        return 1 if isinstance(error, NoAnswerError) else 2
    if arguments.json:
        write_lines([json.dumps(snapshot_to_dict(snapshot), indent=2)])
    else:
        write_lines(dump(snapshot).splitlines())
    return 0
