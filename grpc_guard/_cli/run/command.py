"""The command line of ``grpc-guard run``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from ..._catalogue import words
from ..._catalogue.misspelt import misspelt
from ..._catalogue.modes import Mode, parse_mode
from ..._catalogue.settings import MODE, Layer, environment, resolve
from ..._catalogue.thresholds import resolve_thresholds
from ..._inspect.switch import of_environment
from ..._probe.settings import ProbeSettings, resolve_probe, with_seed
from ..._reports.writing import FORMATS, SUFFIXES
from ..console import add_color, complain
from ..targets import seconds
from .executed import LaunchError
from .launcher import Settings, end_as, run


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
        action="append",
        default=[],
        help="write a report; {pid} in the name makes one for each process; may be repeated",
    )
    parser.add_argument(
        "--format",
        type=_format,
        metavar="F",
        help=f"of every report: {_either(FORMATS)} (default: by the file's suffix {_either(SUFFIXES)})",
    )
    parser.add_argument(
        "--exit-code",
        metavar="N",
        type=_exit_code,
        default=66,
        help="exit status if the program succeeds but broke the contract (default: %(default)s)",
    )
    parser.add_argument(
        "--baseline", metavar="FILE", type=Path, help="findings known from FILE do not count"
    )
    parser.add_argument(
        "--write-baseline",
        metavar="FILE",
        type=Path,
        help="write the findings to FILE as the baseline",
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="hold operations back where two parties came near each other, so that they meet",
    )
    parser.add_argument(
        "--probe-file", metavar="FILE", type=Path, help="keep what the probe learns in FILE"
    )
    parser.add_argument(
        "--probe-seed", metavar="N", help="repeat the choices of the run that printed this seed"
    )
    parser.add_argument(
        "--threshold",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="threshold at which a warning is reported, as in stream_limit=50; may be repeated",
    )
    parser.add_argument(
        "--dump-after",
        metavar="SECONDS",
        type=seconds,
        help="print what is in progress this many seconds after the start, as grpc-guard dump does",
    )
    add_color(parser)
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


def _either(choices: Iterable[str]) -> str:
    *most, last = choices
    return f"{', '.join(most)} or {last}"


def _format(value: str) -> str:
    if value not in FORMATS:
        choices = _either(FORMATS)
        meant = words.did_you_mean(value, FORMATS)
        raise argparse.ArgumentTypeError(f"{value!r} is not a format; use {choices}{meant}")
    return value


def _exit_code(value: str) -> int:
    if not value.isdecimal() or int(value) > 255:
        raise argparse.ArgumentTypeError(f"{value!r} is not an exit status; use 0 to 255")
    return int(value)


def main(arguments: argparse.Namespace) -> int:
    """Run the program and return the exit status."""
    for text in misspelt(os.environ):
        complain(f"grpc_guard: {text}")
    try:
        return end_as(run(_settings(arguments)))
    except LaunchError as error:
        complain(f"grpc-guard run: {error}")
        return error.status


def _settings(arguments: argparse.Namespace) -> Settings:
    command = arguments.program
    if arguments.module is not None:
        command = ["-m", *arguments.module, *arguments.program]
    elif command[:1] == ["--"]:
        command = command[1:]
    if not command or command == ["-m"]:
        raise LaunchError("no program; use a Python script, -m module, or any command")
    try:
        of_environment()  # a bad value is an error here, and not in the program
        mode = resolve(
            Layer("--mode", arguments.mode),
            environment(MODE),
            parse=parse_mode,
            default=Mode.RAISE,
        )
        if mode.value is Mode.OFF:
            _refuse_for_nothing(arguments, mode.source)
        probe = _probe(arguments) if mode.value is not Mode.OFF else None
        thresholds = resolve_thresholds(Layer("--threshold", arguments.threshold))
    except ValueError as error:
        raise LaunchError(str(error)) from None
    return Settings(
        command=command,
        mode=mode.value,
        reports=arguments.report,
        form=arguments.format,
        exit_code=arguments.exit_code,
        baseline=arguments.baseline,
        write_baseline=arguments.write_baseline,
        probe=probe,
        probe_file=arguments.probe_file,
        thresholds=thresholds,
        dump_after=arguments.dump_after,
        color=arguments.color,
    )


def _refuse_for_nothing(arguments: argparse.Namespace, source: str | None) -> None:
    """Raise ValueError for an option that would do nothing, as the guard is off."""
    for option in (
        "--baseline",
        "--write-baseline",
        "--probe",
        "--probe-file",
        "--probe-seed",
        "--threshold",
    ):
        if getattr(arguments, option[2:].replace("-", "_")):
            raise ValueError(f"{option} needs the guard, which {source} has switched off")


def _probe(arguments: argparse.Namespace) -> ProbeSettings | None:
    probe = resolve_probe(
        Layer("--probe", arguments.probe),
        Layer("--probe-seed", arguments.probe_seed),
        details=[Layer("--probe-file", arguments.probe_file)],
    )
    return None if probe is None else with_seed(probe)
