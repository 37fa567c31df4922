"""The command line: which subcommands there are, and where each of them lives.

A subcommand is a module with ``add_arguments(parser)`` and ``main(arguments) -> int``; where
one module has two, the names of the other's end in its suffix. It is imported when it is
chosen, so that ``grpc-guard --help`` and commands that need no gRPC do
not pay for importing it.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from .._catalogue.version import __version__


class Command(NamedTuple):
    """One subcommand: its name, the module that does it, and what that is."""

    name: str
    module: str
    summary: str
    suffix: str = ""


COMMANDS = (
    Command(
        "demo",
        ".demo.command",
        "play what grpcio does when two callers meet in one direction, and what the guard does",
    ),
    Command("run", ".run.command", "run a program under the guard, without a change to it"),
    Command("ps", ".ps", "list the processes that can be asked, and their streams"),
    Command("dump", ".dump", "say what the streams of a running process are doing, and who waits"),
    Command("top", ".top", "watch who holds the streams of a running process, longest first"),
    Command("rules", ".explain", "list the rules", "_of_rules"),
    Command("explain", ".explain", "say what a rule means, why, and how to fix a program"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: sys.argv[1:]) and return the exit status.

    0 for success, 2 for a usage error; each subcommand documents its other statuses.
    Raises SystemExit for ``--help``, ``--version`` and what argparse refuses.
    """
    argv = sys.argv[1:] if argv is None else argv
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser = _parser(chosen)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    status: int = arguments.main(arguments)
    return status


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Return the parser; of the subcommands, only the `chosen` one knows its arguments."""
    parser = argparse.ArgumentParser(
        prog="grpc-guard",
        description="Says who, where and why when two callers meet in one direction "
        "of a gRPC stream.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    for command in COMMANDS:
        summary = f"{command.summary[0].upper()}{command.summary[1:]}."
        subparser = commands.add_parser(command.name, help=command.summary, description=summary)
        if command.name == chosen:
            module = importlib.import_module(command.module, __package__)
            getattr(module, f"add_arguments{command.suffix}")(subparser)
            subparser.set_defaults(main=getattr(module, f"main{command.suffix}"))
    return parser
