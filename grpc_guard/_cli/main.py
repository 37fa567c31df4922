"""The command line: which subcommands there are, and where each of them lives.

A subcommand is a module with ``add_arguments(parser)`` and ``main(arguments) -> int``; if one
module has two subcommands, the functions of the second end in a suffix. The module is imported
when it is chosen, so that ``grpc-guard --help`` and commands that need no gRPC do not pay for
importing it.
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from .._catalogue import words
from .._catalogue.version import __version__
from .._core import which
from .console import OutputError, complain


class Command(NamedTuple):
    """One subcommand: its name, its module, and what it does."""

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

    0 for success, 1 if the standard output cannot be written to, 2 for a usage error; each subcommand
    documents its other statuses.
    Raises SystemExit for ``--help``, ``--version`` and what argparse refuses.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        which.compiled()
    except (ImportError, ValueError) as error:
        complain(f"grpc-guard: {error}")
        return 2
    chosen = next((word for word in argv if not word.startswith("-")), None)
    parser, subparser = _parser(chosen)
    if chosen is not None and subparser is parser:
        names = [command.name for command in COMMANDS]
        parser.error(
            f"argument COMMAND: invalid choice: {chosen!r} (choose from {', '.join(names)})"
            f"{words.did_you_mean(chosen, names)}"
        )
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        options = re.findall(r"--[a-z][a-z-]*", subparser.format_help())
        meant = words.did_you_mean(unknown[0].partition("=")[0], options)
        subparser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = arguments.main(arguments)
    except OutputError as error:
        sys.stdout = None  # at the end, what is left in it would fail once more
        if str(error):
            complain(f"grpc-guard {arguments.command}: {error}")
        return 1
    return status


def _parser(chosen: str | None) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Return the parser, and that of the subcommand `chosen`, the only one that knows its arguments.

    That is the parser itself if there is no such subcommand.
    """
    parser = argparse.ArgumentParser(
        prog="grpc-guard",
        description="Says who, where and why when two callers meet in one direction "
        "of a gRPC stream.",
    )
    version = f"%(prog)s {__version__} (core: {which.described()})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND")
    found = parser
    for command in COMMANDS:
        summary = f"{command.summary[0].upper()}{command.summary[1:]}."
        subparser = commands.add_parser(command.name, help=command.summary, description=summary)
        if command.name == chosen:
            found = subparser
            module = importlib.import_module(command.module, __package__)
            getattr(module, f"add_arguments{command.suffix}")(subparser)
            subparser.set_defaults(main=getattr(module, f"main{command.suffix}"))
    return parser, found
