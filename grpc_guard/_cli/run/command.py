"""The command line of ``grpc-guard run``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

from ..._catalogue.modes import Mode, parse_mode
from ..._catalogue.thresholds import parse_settings, thresholds
from ..._inspect.switch import of_environment
from ..._probe.settings import ProbeSettings, parse_probe, parse_seed, with_seed
from ..._reports.writing import FORMATS
from ..targets import seconds
from .child import MODE, PROBE
from .launcher import LaunchError, Settings, end_as, run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell `parser` what ``run`` takes."""
    parser.usage = "%(prog)s [OPTIONS] [--] PROGRAM [ARGS]"
    parser.add_argument(
        "--mode",
        metavar="M",
        help="raise, warn, serialize or off (default: $GRPC_GUARD, or raise)",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        type=Path,
        help="write a report; {pid} in the name makes one for each process",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the report (default: by the file's suffix .json, .sarif or .txt)",
    )
    parser.add_argument(
        "--exit-code",
        metavar="N",
        type=_exit_code,
        default=66,
        help="exit status where the program succeeds but broke the contract (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline", metavar="FILE", type=Path, help="findings known from FILE do not count"
    )
    parser.add_argument(
        "--write-baseline",
        metavar="FILE",
        type=Path,
        help="write what is found to FILE as the baseline",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="hold operations back where two parties came near each other, so that they meet",
    )
    parser.add_argument(
        "--probe-file", metavar="FILE", type=Path, help="what the probe has learnt, kept in FILE"
    )
    parser.add_argument(
        "--probe-seed", metavar="N", help="repeat the choices of the run that printed this seed"
    )
    parser.add_argument(
        "--threshold",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="from when on a warning is given, as in stream_limit=50; may be repeated",
    )
    parser.add_argument(
        "--dump-after",
        metavar="SECONDS",
        type=seconds,
        help="say what is in progress so many seconds after the start, as grpc-guard dump does",
    )
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        metavar="MODULE [ARGS]",
        help=argparse.SUPPRESS,
    )
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM [ARGS]",
        help="a Python script, -m module, or any command",
    )


def _exit_code(value: str) -> int:
    if not value.isdecimal() or int(value) > 255:
        raise argparse.ArgumentTypeError(f"{value!r} is not an exit status; use 0 to 255")
    return int(value)


def main(arguments: argparse.Namespace) -> int:
    """Run the program and return the exit status."""
    try:
        return end_as(run(_settings(arguments)))
    except LaunchError as error:
        print(f"grpc-guard run: {error}", file=sys.stderr)  # noqa: T201
        return error.status


def _settings(arguments: argparse.Namespace) -> Settings:
    command = arguments.program
    if arguments.module is not None:
        command = ["-m", *arguments.module, *arguments.program]
    elif command[:1] == ["--"]:
        command = command[1:]
    if not command or command == ["-m"]:
        raise LaunchError("no program; use a Python script, -m module, or any command")
    mode = _mode(arguments.mode)
    return Settings(
        command=command,
        mode=mode,
        report=arguments.report,
        form=arguments.format,
        exit_code=arguments.exit_code,
        baseline=arguments.baseline,
        write_baseline=arguments.write_baseline,
        probe=_probe(arguments) if mode is not Mode.OFF else None,
        probe_file=arguments.probe_file,
        thresholds=_told(arguments.threshold),
        dump_after=arguments.dump_after,
    )


def _mode(argument: str | None) -> Mode:
    """Return the mode: the argument's, else the environment's, else raise."""
    try:
        if argument is not None:
            return parse_mode(argument, source="--mode")
        return parse_mode(os.environ.get(MODE) or Mode.RAISE, source=MODE)
    except ValueError as error:
        raise LaunchError(str(error)) from None


def _told(settings: list[str]) -> dict[str, float]:
    """Return the thresholds that the arguments say; those of the environment are tried too."""
    try:
        of_environment()  # a bad one is an error here, and not in the program
        thresholds()
        return parse_settings(settings, source="--threshold")
    except ValueError as error:
        raise LaunchError(str(error)) from None


def _probe(arguments: argparse.Namespace) -> ProbeSettings | None:
    """Return the settings of the probe: numbers by the environment, the rest by arguments."""
    try:
        probe = parse_probe(os.environ.get(PROBE) or "off", source=PROBE)
        if arguments.probe and probe is None:
            probe = ProbeSettings()
        for option in ("probe_file", "probe_seed"):
            if probe is None and getattr(arguments, option) is not None:
                raise LaunchError(f"--{option.replace('_', '-')} needs --probe")
        if arguments.probe_seed is not None and probe is not None:
            seed = parse_seed(arguments.probe_seed, source="--probe-seed")
            probe = dataclasses.replace(probe, seed=seed)
    except ValueError as error:
        raise LaunchError(str(error)) from None
    return None if probe is None else with_seed(probe)
